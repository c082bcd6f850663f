"""Which entries are dropped together: single ones, N of every M, or blocks.

A pattern cuts a tensor [out, in, ...] into units; units are ranked, and kept or dropped whole. Tensors of one axis
count as [out, 1], the axes after the inputs are those of a kernel.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DROPPED = -math.inf  # the score of a unit that goes before any other


class Pattern(ABC):
    """Units of a tensor.

    least: share of the entries that the pattern alone drops. largest: entries of its largest unit.
    """

    @property
    def least(self) -> float:
        return 0.0

    @property
    def largest(self) -> int:
        return 1

    @abstractmethod
    def units(self, score: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and sizes of the units, [units] each, float32 and int64.

        A size is how many entries that are not zero yet go with the unit; that of a unit scored `DROPPED` says nothing.
        score: of the entries, float32. keep: bool of its shape, False where the entry is zero already.
        """

    @abstractmethod
    def entries(self, units: Tensor, shape: torch.Size) -> Tensor:
        """units: bool [units], whether each is kept -> bool of `shape`."""


@dataclass(frozen=True)
class Unstructured(Pattern):
    """Every entry is a unit."""

    def units(self, score: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        flat = torch.where(keep, score, DROPPED).flatten()
        return flat, torch.ones_like(flat, dtype=torch.int64)

    def entries(self, units: Tensor, shape: torch.Size) -> Tensor:
        return units.reshape(shape)


@dataclass(frozen=True)
class NofM(Pattern):
    """At most n of every m entries along the inputs are kept, as sparse tensor cores want it (2 of 4: Mishra et al.
    2021, arXiv 2104.08378), for each output and kernel tap of its own.

    Layers with fewer than m inputs (of one group) are left dense; of a last group that is not full, its share is kept,
    rounded up.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m <= 64:
            raise ValueError(f"pattern NofM needs 1 <= N < M <= 64, got {self.n}of{self.m}: 2of4 is usual")

    @property
    def least(self) -> float:
        return 1 - self.n / self.m

    def units(self, score: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        score = torch.where(keep, score, DROPPED)
        if score.ndim >= 2 and score.shape[1] >= self.m:
            score = torch.where(self._winners(score), score, DROPPED)
        flat = score.flatten()
        return flat, torch.ones_like(flat, dtype=torch.int64)

    def entries(self, units: Tensor, shape: torch.Size) -> Tensor:
        return units.reshape(shape)

    def _winners(self, score: Tensor) -> Tensor:
        """Bool of the score's shape: the n best of each m along axis 1, the first among equals."""
        inputs = score.shape[1]
        missing = -inputs % self.m
        lines = score.movedim(1, -1)  # [out, ..., in]
        groups = F.pad(lines, (0, missing), value=DROPPED).unflatten(-1, (-1, self.m))  # [out, ..., groups, m]
        rank = groups.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        kept = torch.full((groups.shape[-2],), self.n, device=score.device)
        if missing:
            kept[-1] = math.ceil((self.m - missing) * self.n / self.m)
        return (rank < kept[:, None]).flatten(-2)[..., :inputs].movedim(-1, 1)


@dataclass(frozen=True)
class Block(Pattern):
    """Blocks of `rows` outputs and `columns` inputs, in each kernel tap of its own; those at the edges are smaller.

    Zeros that are held already count neither in a block's score, the mean of its entries' scores, nor in its size.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1 or self.rows * self.columns < 2:
            raise ValueError(
                f"block must be outputs x inputs with two entries at least, got {self.rows}x{self.columns}"
            )

    @property
    def largest(self) -> int:
        return self.rows * self.columns

    def units(self, score: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        sizes = self._sums(keep.float())
        means = self._sums(torch.where(keep, score, 0.0)) / sizes.clamp(min=1)
        return torch.where(sizes > 0, means, DROPPED).flatten(), sizes.flatten().long()

    def entries(self, units: Tensor, shape: torch.Size) -> Tensor:
        outputs, inputs, taps = _sides(shape)
        grid = units.view(taps, math.ceil(outputs / self.rows), math.ceil(inputs / self.columns))
        wide = grid.repeat_interleave(self.rows, 1)[:, :outputs].repeat_interleave(self.columns, 2)[:, :, :inputs]
        return wide.permute(1, 2, 0).reshape(shape)

    def _sums(self, values: Tensor) -> Tensor:
        """Sums over each block, [taps, blocks of outputs, blocks of inputs]."""
        outputs, inputs, taps = _sides(values.shape)
        planes = values.reshape(outputs, inputs, taps).permute(2, 0, 1)
        full = F.pad(planes, (0, -inputs % self.columns, 0, -outputs % self.rows))
        blocks = full.unflatten(2, (-1, self.columns)).unflatten(1, (-1, self.rows))
        return blocks.sum((2, 4))


def _sides(shape: torch.Size) -> tuple[int, int, int]:
    """Outputs, inputs and kernel taps of a tensor of that shape."""
    return shape[0], (shape[1] if len(shape) > 1 else 1), math.prod(shape[2:])


def pattern_of(name: str, block: str) -> Pattern:
    """The pattern that a name stands for. block: outputs x inputs, "4x4".

    Raises:
        ValueError: there is no such pattern, or it cannot be.
    """
    if name == "unstructured":
        return Unstructured()
    if found := re.fullmatch(r"(\d+)of(\d+)", name):
        return NofM(int(found[1]), int(found[2]))
    if name == "block":
        sides = re.fullmatch(r"(\d+)x(\d+)", block)
        if not sides:
            raise ValueError(f"block must be outputs x inputs as in 4x4, got {block!r}")
        return Block(int(sides[1]), int(sides[2]))
    raise ValueError(f"pattern must be unstructured, 2of4 (or another NofM), block or channels, got {name!r}")
