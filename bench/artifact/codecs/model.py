"""How likely each symbol is, learnt from the symbols before: nothing of a model is stored.

Symbols are whole numbers around a centre (a zero weight, mostly), in bins that widen with the distance from it: 0, +-1,
+-2, +-3, 4-5, 6-7, 8-11, ... Each context counts bins and symbols. The weight of a symbol is that of its bin times its
share of the bin: bins are few and soon known, shares lean on all contexts, and contexts on their neighbours, until they
have seen enough of their own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

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


class _Bins(NamedTuple):
    """Where the bins of an alphabet lie."""

    starts: Counts  # first symbol of each bin: symbols of a bin adjoin
    of: Counts  # bin of each symbol
    mirror: Counts  # bin of the opposite sign, of each bin
    magnitude: NDArray[np.int16]  # of each symbol: the number of its bin from the centre


@lru_cache(maxsize=64)  # tensors of a file have the same few
def _bins_of(alphabet: int, centre: int) -> _Bins:
    signed = bins(alphabet, centre)
    starts = np.flatnonzero(np.diff(signed, prepend=signed[0] - 1))
    mirror = np.searchsorted(signed[starts], -signed[starts]).clip(max=starts.size - 1)
    of = np.repeat(np.arange(starts.size), np.diff(starts, append=alphabet))
    found = _Bins(starts, of, mirror, np.abs(signed).astype(np.int16))
    for array in found:
        array.flags.writeable = False
    return found


class Model:
    """Counts of what came before, by context. A context's neighbours are the contexts one level below and above it."""

    def __init__(self, alphabet: int, centre: int, levels: int, kinds: int) -> None:
        """Contexts are numbered kind * levels + level."""
        self._bins = _bins_of(alphabet, centre)
        self._counts: Counts = np.zeros((kinds * levels, alphabet), np.int64)
        self._levels = levels

    @property
    def magnitude(self) -> NDArray[np.int16]:
        """Of each symbol: the number of its bin from the centre."""
        return self._bins.magnitude

    def weights(self, contexts: NDArray[np.intp]) -> NDArray[np.float64]:
        """Shape [contexts given, alphabet]; each row to a scale of its own, no weight is zero."""
        starts, bin_of, mirror, _ = self._bins
        binned = np.add.reduceat(self._counts, starts, axis=1)  # [contexts, bins]
        if len(binned) == 1:  # the one context is all of them, and has no neighbours
            shares, mine = 3 * self._counts + 1, binned
            lean = binned + binned[:, mirror] + 8
        else:
            shares, mine = 2 * self._counts[contexts] + self._counts.sum(0) + 1, binned[contexts]
            everywhere = binned.sum(0)
            lean = 4 * self._near(binned)[contexts] + everywhere + everywhere[mirror] + 8
        # what a context expects of each bin before it has seen any: what its neighbours and all contexts have seen
        prior = 1 + (_PRIOR << _UNIT_BITS) * lean // lean.sum(1, keepdims=True)
        weight = (mine << _UNIT_BITS) + prior
        per_bin = np.add.reduceat(shares, starts, axis=1)
        return shares.astype(np.float64) * weight[:, bin_of] / per_bin[:, bin_of]

    def _near(self, binned: Counts) -> Counts:
        grid = binned.reshape(-1, self._levels, binned.shape[1])
        near = np.zeros_like(grid)
        near[:, 1:] += grid[:, :-1]
        near[:, :-1] += grid[:, 1:]
        return near.reshape(binned.shape)

    def learn(self, contexts: NDArray[np.uint8] | None, symbols: NDArray[np.int32]) -> None:
        """Counts one pass, both of shape [n]; no contexts: all in the only one."""
        size = self._counts.shape
        flat = symbols if contexts is None else contexts.astype(np.intp) * size[1] + symbols
        self._counts += np.bincount(flat, minlength=self._counts.size).reshape(size)
