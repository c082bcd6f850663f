"""How often each value of an activation was seen, for the choice of its range."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MOST_BINS = 4096  # widths are doubled where more would be needed, so there are at least half as many
_FIRST_WIDTH = 2.0**-40
_PART = 1 << 22  # values at a time


class Histogram:
    """Counts of values in bins whose width is a power of two and whose edges are its multiples.

    Where the values outgrow the bins, neighbours are merged: counts stay exact, whatever order values come in.
    """

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0  # ends of what was seen, and 0.0
        self._width, self._first = _FIRST_WIDTH, 0  # the first bin is [first * width, (first + 1) * width)
        self._counts = torch.zeros(1, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        """Counts `values` [...].

        Raises:
            ValueError: a value is not finite.
        """
        flat = values.detach().float().flatten()
        low, high = (end.item() for end in flat.aminmax())
        if not math.isfinite(high - low):
            raise ValueError(f"activations range over [{low}, {high}]: the network has diverged")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._cover(self.low, self.high)
        for part in flat.split(_PART):
            bins = torch.floor(part / self._width).to(torch.int64) - self._first
            self._counts += torch.bincount(bins, minlength=len(self._counts)).cpu()

    def values(self) -> tuple[Tensor, Tensor]:
        """Middles of the bins that are not empty, in rising order, and their counts; float32 [n] each."""
        index = torch.nonzero(self._counts)[:, 0]
        middles = (index + self._first + 0.5).double() * self._width
        exact_zero = torch.where(middles.abs() < self._width, 0.0, middles)  # most values of a ReLU are 0.0
        return exact_zero.float(), self._counts[index].float()

    def percentile(self, share: float) -> tuple[float, float]:
        """The ends that leave (1 - share) / 2 of the values beyond each, kept within what was seen."""
        middles, counts = self.values()
        total = counts.double().cumsum(0)
        tail = (1 - share) / 2 * total[-1]
        low = middles[int(torch.searchsorted(total, tail, right=True).clamp(max=len(middles) - 1))].item()
        high = middles[int(torch.searchsorted(total, total[-1] - tail).clamp(max=len(middles) - 1))].item()
        return min(max(low, self.low), self.high), max(min(high, self.high), self.low)

    def _cover(self, low: float, high: float) -> None:
        """Makes the bins span [low, high], merging neighbours as often as needed."""
        while math.floor(high / self._width) - math.floor(low / self._width) >= _MOST_BINS:
            if self._first % 2:
                self._counts, self._first = torch.nn.functional.pad(self._counts, (1, 0)), self._first - 1
            padded = torch.nn.functional.pad(self._counts, (0, len(self._counts) % 2))
            self._counts, self._first, self._width = padded.view(-1, 2).sum(1), self._first // 2, 2 * self._width
        before = self._first - math.floor(low / self._width)
        after = math.floor(high / self._width) - (self._first + len(self._counts) - 1)
        self._counts = torch.nn.functional.pad(self._counts, (max(0, before), max(0, after)))
        self._first -= max(0, before)
