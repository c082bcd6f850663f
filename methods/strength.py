"""How strongly a method compresses: the one hyperparameter that trades size for accuracy, and where to look for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_DIGITS = 4  # significant ones of a value that is found, so that it can be typed again


@dataclass(frozen=True)
class Strength:
    """A hyperparameter that makes what is stored smaller and accuracy lower from `weakest` to `strongest`.

    scale: in which equal steps are alike: of the value (linear), its logarithm (log), or log(value / (1 - value)) of a
        share (logit).
    whole: only whole numbers are values; these are few, and all of them are listed by `values`.
    """

    field: str
    weakest: float
    strongest: float
    scale: Literal["linear", "log", "logit"] = "linear"
    whole: bool = False

    def at(self, position: float) -> float:
        """The value at a position from 0, the weakest, to 1, the strongest; an int where values are whole."""
        low, high = self._warped(self.weakest), self._warped(self.strongest)
        value = self._unwarped(low + (high - low) * min(1.0, max(0.0, position)))
        if self.whole:
            return round(value)
        least, most = sorted((self.weakest, self.strongest))
        return min(most, max(least, self._rounded(value)))

    def position(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        low, high = self._warped(self.weakest), self._warped(self.strongest)
        return (self._warped(value) - low) / (high - low)

    def values(self) -> tuple[int, ...]:
        """All whole values, the weakest first."""
        step = 1 if self.strongest > self.weakest else -1
        return tuple(range(round(self.weakest), round(self.strongest) + step, step))

    def _warped(self, value: float) -> float:
        if self.scale == "logit":
            return math.log(value / (1 - value))
        return math.log(value) if self.scale == "log" else value

    def _unwarped(self, warped: float) -> float:
        if self.scale == "logit":
            return 1 / (1 + math.exp(-warped))
        return math.exp(warped) if self.scale == "log" else warped

    def _rounded(self, value: float) -> float:
        """To as many digits as matter: of a share, to those of it or of what it leaves, whichever is the smaller."""
        size = abs(value)
        if self.scale == "logit":
            size = min(value, 1 - value)
        return value if size <= 0 else round(value, _DIGITS - 1 - math.floor(math.log10(size)))
