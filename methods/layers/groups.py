"""Weights on a grid for each small group of them, for few bits: r = S (q - Z), q in 0..2^bits - 1, S and Z a group's.

Groups of consecutive inputs of one output, each with a range of its own (Shen et al. 2020, arXiv 1909.05840, section
3.2; Dettmers and Zettlemoyer 2023, arXiv 2212.09720). Z is a whole number, so 0.0 is on every grid and pruned weights
stay zero. Of the ranges inside a group's own, the one is taken that rounds it with the least squared error.
Stored form: (q - Z) mod 2^bits as uint8 codes, so that 0 stands for 0.0 and pruned tensors are coded as such, and for
each group a bfloat16 step and a uint8 zero point.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from methods.layers.constraints import Constraint

_FRACTIONS = torch.linspace(1.0, 0.4, 13)  # of a group's range that the search tries
_SMALLEST_STEP = 1e-30


class GroupQuantizer(Constraint):
    """Rounds a stored tensor [out, ...] to `bits` bits, a grid for each `group` consecutive entries of an output."""

    def __init__(self, bits: int, group: int) -> None:
        super().__init__()
        if not 2 <= bits <= 8 or group < 1:
            raise ValueError(f"bits must be in 2..8 and group at least 1, got {bits} and {group}")
        self.bits, self.group = bits, group

    def config(self) -> dict[str, Any]:
        return {"bits": self.bits, "group": self.group}

    def forward(self, tensor: Tensor) -> Tensor:
        """[out, ...] float -> the same shape, float32, on the grid; gradients pass straight through."""
        codes, reader = self._codes(tensor.detach())
        values = reader(codes)
        return tensor + (values - tensor).detach() if torch.is_grad_enabled() and tensor.requires_grad else values

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        """uint8 codes [out, ...] and the `DequantizeGroups` that maps them to what `forward` returns."""
        return self._codes(tensor.detach())

    def _codes(self, tensor: Tensor) -> tuple[Tensor, DequantizeGroups]:
        grouped = in_groups(tensor.float(), self.group)  # [out, groups, group]
        largest = 2**self.bits - 1
        low, high = grouped.amin(-1).clamp(max=0), grouped.amax(-1).clamp(min=0)  # [out, groups]
        step, zero = _grid(low, high, largest)
        best = torch.full_like(low, math.inf)
        best_step, best_zero = step, zero
        for fraction in _FRACTIONS.tolist():
            step, zero = _grid(fraction * low, fraction * high, largest)
            error = (_read(_round(grouped, step, zero, largest), step, zero) - grouped).square().sum(-1)
            better = error < best
            best, best_step = torch.where(better, error, best), torch.where(better, step, best_step)
            best_zero = torch.where(better, zero, best_zero)
        best_step = torch.where(torch.isfinite(high - low), best_step, math.nan)  # rounding must not hide it
        codes = _round(grouped, best_step, best_zero, largest) - best_zero[..., None]
        codes = codes.remainder(largest + 1).flatten(1)[:, : math.prod(tensor.shape[1:])]
        reader = DequantizeGroups(len(tensor), best_step.shape[1], self.group, self.bits)
        reader.step, reader.zero = best_step.to(torch.bfloat16), best_zero.to(torch.uint8)
        return codes.nan_to_num().to(torch.uint8).view(tensor.shape), reader


class DequantizeGroups(Constraint):
    """Reads uint8 codes [out, ...] back as float32: step * ((code + zero) mod 2^bits - zero), step and zero
    [out, groups]."""

    step: Tensor  # bfloat16
    zero: Tensor  # uint8

    def __init__(self, channels: int, groups: int, group: int, bits: int) -> None:
        super().__init__()
        if min(channels, groups, group) < 1 or not 2 <= bits <= 8:
            raise ValueError(f"sizes must be at least 1 and bits in 2..8, got {channels}, {groups}, {group} and {bits}")
        self.group, self.bits = group, bits
        self.register_buffer("step", torch.ones(channels, groups, dtype=torch.bfloat16))
        self.register_buffer("zero", torch.zeros(channels, groups, dtype=torch.uint8))

    def config(self) -> dict[str, Any]:
        channels, groups = self.step.shape
        return {"channels": channels, "groups": groups, "group": self.group, "bits": self.bits}

    def forward(self, tensor: Tensor) -> Tensor:
        codes, zero = in_groups(tensor.float(), self.group), self.zero.float()
        values = _read((codes + zero[..., None]).remainder(2**self.bits), self.step.float(), zero)
        return values.flatten(1)[:, : math.prod(tensor.shape[1:])].reshape(tensor.shape)

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return tensor, self


def in_groups(tensor: Tensor, group: int) -> Tensor:
    """[out, ...] -> [out, groups, group], the last group of each output filled up with zeros."""
    flat = tensor.reshape(len(tensor), -1)
    missing = -flat.shape[1] % group
    return torch.nn.functional.pad(flat, (0, missing)).view(len(tensor), -1, group)


def _grid(low: Tensor, high: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Steps, as bfloat16 holds them, and zero points of grids over [low, high]; float32 [out, groups] each."""
    step = ((high - low) / largest).to(torch.bfloat16).float()
    step = torch.where(step > _SMALLEST_STEP, step, 1.0)
    return step, torch.round(-low / step).clamp(0, largest)


def _round(grouped: Tensor, step: Tensor, zero: Tensor, largest: int) -> Tensor:
    return (torch.round(grouped / step[..., None]) + zero[..., None]).clamp(0, largest)


def _read(codes: Tensor, step: Tensor, zero: Tensor) -> Tensor:
    return (codes - zero[..., None]) * step[..., None]
