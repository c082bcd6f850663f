"""In which order the symbols of a tensor are coded, and in which context each one is.

A tensor is seen as rows (its first axis: outputs), columns (the second: inputs) and taps (the rest: the kernel). Tap
after tap, and within the first tap a few diagonals at a time, a pass takes many symbols from all rows and columns at
once. So by the time most symbols are coded much is known of the row and the column of each one and of its neighbours in
the kernel, none of it stored, and a pass is a few operations on whole arrays. Passes begin small and grow, because each
learns from those before.

The contexts are those of DeepCABAC in spirit (Wiedemann et al. 2019, arXiv 1907.11900), which goes symbol by symbol.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.artifact.codecs.base import Words
from bench.artifact.codecs.coder import Coder, Symbols
from bench.artifact.codecs.model import Model

_MOST_TAPS = 1024  # each is a pass
_MOST_SYMBOLS = 1024  # where there are contexts
_FIRST = 48  # symbols of a first pass, at least
_MOST_DIAGONALS = 4096
_BAND = 1 << 20  # symbols that are held at a time
_LEVELS = 24
_LEVEL_OF = [2.0**half * root for half in range(-_LEVELS // 4, _LEVELS // 4) for root in (1.0, math.sqrt(2))]  # rising
_KINDS = 8  # of neighbours: 4 sizes, signed or not

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Alphabet:
    """Which values are symbols."""

    low: int  # the value of symbol 0
    size: int
    centre: int  # the symbol around which the others are small


@dataclass(frozen=True)
class Layout:
    """How a tensor is seen, and what its contexts look at."""

    rows: int
    columns: int = 1
    taps: int = 1
    width: int = 1  # of the kernel: taps in a line of it
    lines: bool = False  # the row's and the column's symbols so far
    kernel: bool = False  # the taps to the left and above

    @property
    def row_size(self) -> int:
        return self.columns * self.taps

    @property
    def levels(self) -> int:
        return _LEVELS if self.lines else 1

    def fits(self, alphabet: Alphabet) -> bool:
        """Whether working space and passes stay few, and a kernel's contexts find the centre in the middle."""
        if not (self.lines or self.kernel):
            return True
        if self.kernel and alphabet.size != 2 * alphabet.centre + 1:
            return False
        return self.taps <= _MOST_TAPS and alphabet.size <= _MOST_SYMBOLS and self.row_size <= _BAND


def run(coder: Coder, values: Words, alphabet: Alphabet, layout: Layout) -> None:
    """Codes `values`, integers of the layout's rows * columns * taps; when reading they are filled in.

    Raises:
        ValueError: a value read is outside the type of `values`.
    """
    model = Model(alphabet.size, alphabet.centre, layout.levels, _KINDS if layout.kernel else 1)
    lines, limits = _Lines(layout.columns), np.iinfo(values.dtype)
    all_fit = limits.min <= alphabet.low and alphabet.low + alphabet.size - 1 <= limits.max
    bounds = None if all_fit else (int(limits.min), int(limits.max))
    for start, stop in _bands(values.size, layout):
        symbols = (values[start:stop].astype(np.int64) - alphabet.low).astype(np.int32)
        if layout.lines or layout.kernel:
            symbols = _run_band(coder, symbols, layout, model, lines, alphabet.centre)
        else:
            symbols = coder.code(symbols, model.weights(np.zeros(1, np.intp))[0])
            model.learn(None, symbols)
        _put(values, start, symbols.astype(np.int64) + alphabet.low, bounds)


def _bands(count: int, layout: Layout) -> Iterator[tuple[int, int]]:
    """Bounds of what is coded at a time: whole rows, or parts that grow as more is known."""
    if not (layout.lines or layout.kernel):
        yield from _growing(count, _FIRST, _BAND)
        return
    size = layout.row_size * max(1, _BAND // max(layout.row_size, 1))
    yield from ((start, min(start + size, count)) for start in range(0, count, size))


def _put(values: Words, start: int, read: NDArray[np.int64], bounds: tuple[int, int] | None) -> None:
    if bounds and read.size and not (bounds[0] <= read.min() and read.max() <= bounds[1]):
        raise ValueError("a word is outside its type")
    values[start : start + read.size] = read


def _run_band(coder: Coder, symbols: Symbols, layout: Layout, model: Model, lines: _Lines, centre: int) -> Symbols:
    """Some rows. What the model and the columns have learnt stays, rows begin anew."""
    lines.begin(symbols.size // layout.row_size)
    planes = np.ascontiguousarray(symbols.reshape(-1, layout.taps).T)  # [taps, rows * columns]
    for tap, plane in enumerate(planes):
        near = _Neighbours(planes, layout, tap, model, centre, lines.mean()) if layout.kernel else None
        for at in _passes(plane.size, layout.columns) if tap == 0 else [np.arange(plane.size)]:
            wanted = plane[at]
            row, column = np.divmod(at, layout.columns)
            context = lines.level(row, column) if layout.lines else np.zeros(at.size, np.uint8)
            if near is not None:
                context += np.uint8(layout.levels) * near.kind[at]
                wanted = near.mirrored(wanted, at)
            coded = _code_pass(coder, model, context, wanted)
            model.learn(context, coded)
            lines.learn(row, column, model.magnitude[coded])
            plane[at] = coded if near is None else near.mirrored(coded, at)
    return np.ascontiguousarray(planes.T).reshape(-1)


def _code_pass(coder: Coder, model: Model, context: NDArray[np.uint8], wanted: Symbols) -> Symbols:
    """Context after context, each with its own weights."""
    counts = np.bincount(context)
    present = np.flatnonzero(counts)
    weights = model.weights(present)
    order = np.argsort(context, kind="stable")
    ordered, start = wanted[order], 0
    for index, count in enumerate(counts[present]):
        ordered[start : start + count] = coder.code(ordered[start : start + count], weights[index])
        start += count
    coded = np.empty_like(wanted)
    coded[order] = ordered
    return coded


def _growing(count: int, first: int, most: int) -> Iterator[tuple[int, int]]:
    """Bounds of parts that begin with `first` and grow by half of what was before, to at most `most`."""
    start = 0
    while start < count:
        stop = min(count, start + min(most, max(first, start // 2)))
        yield start, stop
        start = stop


def _passes(size: int, columns: int) -> Iterator[Indices]:
    """Positions in a plane, some diagonals at a time; those of a pass are spread over the plane."""
    bits = max(0, min(_MOST_DIAGONALS, size // _FIRST).bit_length() - 1)
    turns = np.arange(1 << bits)
    turn_of = np.zeros(1 << bits, np.int64)  # of each diagonal: its number with the bits in reverse
    for bit in range(bits):
        turn_of |= (turns >> bit & 1) << (bits - 1 - bit)
    lengths = [stop - start for start, stop in _growing(1 << bits, 1, 1 << bits)]
    part_of = np.repeat(np.arange(len(lengths), dtype=np.uint8), lengths)[turn_of]
    diagonal = np.add.outer(np.arange(-(-size // columns)), np.arange(columns)).reshape(-1) & ((1 << bits) - 1)
    part = part_of[diagonal]
    order, start = np.argsort(part, kind="stable"), 0
    for count in np.bincount(part, minlength=len(lengths)):
        if count:
            yield order[start : start + count]
        start += count


class _Lines:
    """Mean magnitude of the symbols so far in each row and each column."""

    def __init__(self, columns: int) -> None:
        self._columns = np.zeros((2, columns))  # sums and counts: whole numbers, which doubles hold exactly
        self._rows = np.zeros((2, 0))
        self._nonzero = 0

    def begin(self, rows: int) -> None:
        self._rows = np.zeros((2, rows))

    def mean(self) -> float:
        total, seen = self._columns.sum(1)
        return float(total) / max(float(seen), 1.0)

    def level(self, row: Indices, column: Indices) -> NDArray[np.uint8]:
        """The level of the product of a row's and a column's mean, in steps of a factor sqrt(2)."""
        mean = self.mean() or 1.0
        enough = 2 * max(float(self._columns[1].sum()), 1.0) / max(self._nonzero, 1)  # to expect two that are not zero
        logs = []
        for sums, seen in (self._rows, self._columns):
            usual = (sums + enough * mean) / (seen + enough)  # leans on the mean of all until enough is seen
            logs.append(np.searchsorted(_LEVEL_OF, usual / mean).astype(np.int8))
        return np.clip(logs[0][row] + logs[1][column] - np.int8(_LEVELS // 2), 0, _LEVELS - 1).astype(np.uint8)

    def learn(self, row: Indices, column: Indices, magnitude: NDArray[Any]) -> None:
        for at, (sums, seen) in ((row, self._rows), (column, self._columns)):
            sums += np.bincount(at, magnitude, sums.size)
            seen += np.bincount(at, minlength=seen.size)
        self._nonzero += int(np.count_nonzero(magnitude))


class _Neighbours:
    """What the taps to the left and above say of each symbol of a plane."""

    def __init__(self, planes: Symbols, layout: Layout, tap: int, model: Model, centre: int, mean: float) -> None:
        """mean: magnitude of the symbols so far."""
        near = [planes[tap - 1]] if tap % layout.width else []
        near += [planes[tap - layout.width]] if tap >= layout.width else []
        size = np.zeros(planes.shape[1], np.int64) + sum(model.magnitude[one] for one in near)
        signed = np.zeros(planes.shape[1], np.int64) + sum(near) - len(near) * centre
        sizes = np.searchsorted(np.array([0.5, 1.0, 2.0]) * (mean * len(near)), size).astype(np.uint8)
        self.kind = sizes + 4 * (signed != 0).astype(np.uint8)
        self._negative = signed < 0
        self._centre = centre

    def mirrored(self, symbols: Symbols, at: Indices) -> Symbols:
        """The symbols, those at the centre's other side whose neighbours are negative; its own inverse."""
        return np.where(self._negative[at], 2 * self._centre - symbols, symbols).astype(np.int32)
