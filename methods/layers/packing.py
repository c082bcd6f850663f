"""Which coefficients of a spectrum are kept, and their packed form.

A rectangle keeps frequencies below one bound an axis. A triangle keeps those whose frequencies add up to less than its
side, i + j < n, in the rectangle that holds it. Channels (outputs, inputs) and taps (rows, columns) have a shape each;
kept is what both keep. Kept coefficients of a triangle are stored one after another, so nothing is stored for the rest
and no positions are stored either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Taps = tuple[()] | tuple[int, int]  # rows and columns of a kernel, or none
_LARGEST_SIDE = 1 << 20  # of a triangle, whose rows are sought one by one: a file may say anything


@dataclass(frozen=True)
class Box:
    """The kept coefficients of one group of a layer.

    outputs, inputs: frequencies kept of each channel axis. taps: of rows and columns of the kernel; () for none.
    diagonal, tap_diagonal: side n of a triangle i + j < n within channels and within taps; 0 keeps the rectangle.

    Raises:
        ValueError: a side or a diagonal is out of range.
    """

    outputs: int
    inputs: int
    taps: Taps = ()
    diagonal: int = 0
    tap_diagonal: int = 0

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.diagonal, self.tap_diagonal) < 0 or len(self.taps) not in (0, 2):
            raise ValueError(f"a spectrum has sides of at least 1 and diagonals of at least 0, got {self}")
        if not self.is_rectangle and max(self.shape) > _LARGEST_SIDE:
            raise ValueError(f"a triangle has sides of at most {_LARGEST_SIDE}, got {self}")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.outputs, self.inputs, *self.taps)

    @property
    def is_rectangle(self) -> bool:
        return self.diagonal == 0 and self.tap_diagonal == 0

    @property
    def count(self) -> int:
        """Coefficients that are kept."""
        channels = triangle_count(self.outputs, self.inputs, self.diagonal)
        return channels * (triangle_count(*self.taps, self.tap_diagonal) if self.taps else 1)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of one group: the rectangle itself, or as many even rows as come nearest to the outputs from below."""
        if self.is_rectangle:
            return self.shape
        rows = next(rows for rows in range(min(self.outputs, self.count), 0, -1) if self.count % rows == 0)
        return rows, self.count // rows

    def support(self) -> np.ndarray:
        """What is kept, bool [outputs, inputs, *taps]."""
        kept = _triangle(self.outputs, self.inputs, self.diagonal)
        if not self.taps:
            return kept
        return kept[:, :, None, None] & _triangle(*self.taps, self.tap_diagonal)

    def places(self) -> Tensor:
        """For each entry of the rectangle its number among the kept ones, their count where it is not kept; int64,
        flat."""
        places = torch.empty(math.prod(self.shape), dtype=torch.int64)
        if places.is_meta:  # a layer made without storage, to learn its shapes
            return places
        kept = self.support().ravel()
        return torch.from_numpy(np.where(kept, np.cumsum(kept) - 1, self.count))


def triangle_count(rows: int, columns: int, diagonal: int) -> int:
    """Entries (i, j) of a [rows, columns] rectangle with i + j < diagonal; all of them where that is 0."""
    if diagonal == 0:
        return rows * columns

    def below(side: int) -> int:
        return side * (side + 1) // 2 if side > 0 else 0

    return below(diagonal) - below(diagonal - rows) - below(diagonal - columns) + below(diagonal - rows - columns)


def _triangle(rows: int, columns: int, diagonal: int) -> np.ndarray:
    total = np.add.outer(np.arange(rows), np.arange(columns))
    return total < (diagonal or rows + columns)


def unpack(coefficients: Tensor, places: Tensor, box: Box, groups: int) -> Tensor:
    """Packed coefficients [groups * rows, columns] as a rectangle [groups * outputs, inputs, *taps], zeros between."""
    flat = coefficients.reshape(groups, -1)
    padded = F.pad(flat, (0, 1))  # of a constant a constant: exporters fold the whole into a weight
    return padded.index_select(1, places).reshape(groups * box.outputs, *box.shape[1:])


def pack(rectangle: Tensor, box: Box, groups: int) -> Tensor:
    """The kept coefficients of [groups * outputs, inputs, *taps] in stored form."""
    if box.is_rectangle:
        return rectangle
    kept = torch.from_numpy(box.support().ravel()).to(rectangle.device)
    rows, columns = box.stored_shape
    return rectangle.reshape(groups, -1)[:, kept].reshape(groups * rows, columns)
