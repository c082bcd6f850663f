"""Tensors stored in 16 bits and read back as float32.

A runtime that has 16-bit kernels computes with what is stored (bench/runtimes/precision.py), the others read it back.
"""

from __future__ import annotations

from abc import ABC
from typing import Any, Literal

import torch
from torch import Tensor

from methods.layers.constraints import Constraint

HalfName = Literal["fp16", "bf16"]
HALVES: dict[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}


class _SixteenBits(Constraint, ABC):
    """Either side of storing a tensor in 16 bits."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        if dtype not in HALVES:
            raise ValueError(f"dtype must be one of {', '.join(HALVES)}, got {dtype!r}")
        self.dtype = dtype

    def config(self) -> dict[str, Any]:
        return {"dtype": self.dtype}


class Halve(_SixteenBits):
    """Rounds a stored tensor to 16 bits."""

    def forward(self, tensor: Tensor) -> Tensor:
        """[...] float -> the same shape, float32, to the nearest value of 16 bits; gradients pass straight through."""
        return tensor.to(HALVES[self.dtype]).float()

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return tensor.detach().to(HALVES[self.dtype]), Widen(self.dtype)


class Widen(_SixteenBits):
    """Reads a tensor of 16 bits back as float32."""

    def forward(self, tensor: Tensor) -> Tensor:
        return tensor.float()

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return tensor, self
