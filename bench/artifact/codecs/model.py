"""How likely each symbol is, learnt from the symbols before: nothing of a model is stored.

Symbols are whole numbers around a centre (a zero weight, mostly), in bins that widen with the distance from it: 0, +-1,
+-2, +-3, 4-5, 6-7, 8-11, ... Each context counts bins and symbols. The weight of a symbol is that of its bin times its
share of the bin: bins are few and soon known, shares lean on all contexts, and contexts on their neighbours, until they
have seen enough of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
_UNIT_BITS = 16
_PRIOR = 48  # symbols


def bins(alphabet: int, centre: int) -> Counts:
    """The signed bin of each symbol, shape [alphabet]."""
    distance = np.arange(alphabet) - centre
    size = np.abs(distance)
    exponent = np.zeros(alphabet, np.int64)  # floor(log2(size)), of sizes from 1 on
    for power in range(1, max(alphabet, 2).bit_length()):
        exponent += size >> power > 0
    wide = 2 * exponent + (size >> np.maximum(exponent - 1, 0) & 1)
    return np.where(size < 4, size, wide) * np.sign(distance)


class Model:
    """Counts of what came before, by context. A context's neighbours are the contexts one level below and above it."""

    def __init__(self, alphabet: int, centre: int, levels: int, kinds: int) -> None:
        """Contexts are numbered kind * levels + level."""
        signed = bins(alphabet, centre)
        self._starts = np.flatnonzero(np.diff(signed, prepend=signed[0] - 1))  # of each bin: symbols of a bin adjoin
        self._widths = np.diff(self._starts, append=alphabet)
        self._bin = np.repeat(np.arange(self._starts.size), self._widths)
        self._mirror = np.searchsorted(signed[self._starts], -signed[self._starts]).clip(max=self._starts.size - 1)
        self._counts: Counts = np.zeros((kinds * levels, alphabet), np.int64)
        self._levels = levels
        self.magnitude = np.abs(signed).astype(np.int16)  # of each symbol: the number of its bin from the centre

    def weights(self, contexts: NDArray[np.intp]) -> NDArray[np.float64]:
        """Shape [contexts given, alphabet]; each row to a scale of its own, no weight is zero."""
        binned = np.add.reduceat(self._counts, self._starts, axis=1)  # [contexts, bins]
        shares = 2 * self._counts[contexts] + self._counts.sum(0) + 1
        weight = (binned[contexts] << _UNIT_BITS) + self._prior(binned)[contexts]
        per_bin = np.add.reduceat(shares, self._starts, axis=1)
        return shares.astype(np.float64) * weight[:, self._bin] / per_bin[:, self._bin]

    def _prior(self, binned: Counts) -> Counts:
        """What a context expects of each bin before it has seen any: what its neighbours and all contexts have seen."""
        grid = binned.reshape(-1, self._levels, binned.shape[1])
        near = np.zeros_like(grid)
        near[:, 1:] += grid[:, :-1]
        near[:, :-1] += grid[:, 1:]
        everywhere = binned.sum(0)
        lean = 4 * near.reshape(binned.shape) + everywhere + everywhere[self._mirror] + 8
        return 1 + (_PRIOR << _UNIT_BITS) * lean // lean.sum(1, keepdims=True)

    def learn(self, contexts: NDArray[np.uint8] | None, symbols: NDArray[np.int32]) -> None:
        """Counts one pass, both of shape [n]; no contexts: all in the only one."""
        size = self._counts.shape
        flat = symbols if contexts is None else contexts.astype(np.intp) * size[1] + symbols
        self._counts += np.bincount(flat, minlength=self._counts.size).reshape(size)
