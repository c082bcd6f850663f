"""Weights that share few values: small codes, and the table that reads them back as float32.

Source of the form: Han et al. 2016, arXiv 1510.00149, section 3. The code 0 always stands for 0.0 and is in no table:
pruned tensors are coded as such and zeros are counted as zeros. Where a tensor holds no zero its codes begin at 1.
Codes beyond a table, which only a forged file has, read as its last entry.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.layers.constraints import Constraint
from methods.layers.halves import HALVES

MOST_VALUES = 255  # other than 0.0 that uint8 codes can stand for
_TYPES = {"fp32": torch.float32, **HALVES}
_EXACT_ENOUGH = 2.0**-11  # of the largest value: what float16 rounds away at most in its normal range


class Codebook(Constraint):
    """Reads uint8 codes [...] back as float32: 0.0 for the code 0, centroids[code - 1] for the others."""

    stores: ClassVar[Literal["scales", "codebooks"]] = "codebooks"
    centroids: Tensor  # [count]

    def __init__(self, count: int, dtype: str = "fp32") -> None:
        super().__init__()
        if not 0 <= count <= MOST_VALUES:
            raise ValueError(f"count must be in 0..{MOST_VALUES}, got {count}: codes are stored as uint8")
        self.register_buffer("centroids", ones(count, dtype))

    @classmethod
    def of(cls, centroids: Tensor) -> Codebook:
        """centroids: float [count], stored as float16 where that holds them (`narrowest`), else as float32."""
        reader = cls(len(centroids))
        reader.centroids = narrowed(centroids)
        return reader

    def config(self) -> dict[str, Any]:
        return {"count": len(self.centroids), "dtype": type_name(self.centroids)}

    def forward(self, tensor: Tensor) -> Tensor:
        return looked_up(self.centroids.float(), tensor)

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return tensor, self


class SharedValues(Constraint):
    """Reads codes as `Codebook` does, with values that are trained.

    Trained is a value times the square root of the number of its members. Its gradient is their gradients' sum over
    that root, and the value moves by their mean: a step of SGD is the step that the weights would take by themselves,
    projected on weights that share values, so rates and clipping of the dense network go on to suit.
    """

    root: Tensor  # float32 [count]

    def __init__(self, centroids: Tensor, codes: Tensor) -> None:
        """centroids: float32 [count]. codes: uint8 [...], 0 for 0.0."""
        super().__init__()
        members = torch.bincount(codes.flatten().long(), minlength=len(centroids) + 1)[1:]
        self.register_buffer("root", members.clamp(min=1).float().sqrt())
        self.scaled = nn.Parameter(centroids * self.root)

    def config(self) -> dict[str, Any]:
        return {"count": len(self.root)}

    def centroids(self) -> Tensor:
        """The values [count]."""
        return self.scaled / self.root

    def forward(self, tensor: Tensor) -> Tensor:
        return looked_up(self.centroids(), tensor)

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return tensor, Codebook.of(self.centroids())


def looked_up(centroids: Tensor, codes: Tensor) -> Tensor:
    """0.0 where a code is 0, else centroids[code - 1]: [count], [...] -> [...]; differentiable in `centroids`."""
    table = torch.cat([centroids.new_zeros(1), centroids])
    places = codes.long().clamp(0, len(centroids)).flatten()
    return table.index_select(0, places).view(codes.shape)


def narrowest(values: Tensor) -> str:
    """fp16 if float16 holds `values` [count] to 11 bits of the largest of them, else fp32: it overflows beyond 65504
    and thins out below 6e-5."""
    exact = values.detach().double()
    held = exact.to(torch.float16).double()
    largest = exact.abs().amax() if exact.numel() else 0.0
    return "fp16" if bool(((held - exact).abs() <= _EXACT_ENOUGH * largest).all()) else "fp32"


def ones(count: int, dtype: str) -> Tensor:
    """[count] of the type of that name: fp32, fp16 or bf16."""
    if dtype not in _TYPES:
        raise ValueError(f"dtype must be one of {', '.join(_TYPES)}, got {dtype!r}")
    return torch.ones(count, dtype=_TYPES[dtype])


def narrowed(values: Tensor) -> Tensor:
    """A copy of `values` [count] of the type that `narrowest` picks."""
    return values.detach().to(_TYPES[narrowest(values)]).clone()


def type_name(values: Tensor) -> str:
    return next(name for name, dtype in _TYPES.items() if dtype is values.dtype)
