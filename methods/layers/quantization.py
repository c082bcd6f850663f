"""Weights on a symmetric grid per output channel: r = S q, with q a small integer.

Sources: Jacob et al. 2018, arXiv 1712.05877, equation 1 with Z = 0; Krishnamoorthi 2018, arXiv 1806.08342, section 3.1.

While training, values are rounded to the grid and carried on as float32 ("fake quantisation"), gradients pass straight
through inside the range and are 0 outside (arXiv 1712.05877, section 3). A channel's grid scales with the channel: what
a batch norm multiplies weights by can be folded into them before or after rounding, the codes are the same.
Stored form: int8 codes and one float32 scale per output channel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from methods.layers.activations import SMALLEST_RANGE, ActivationQuantizer, DynamicQuantizer
from methods.layers.codebooks import Codebook
from methods.layers.constraints import Constraint
from methods.layers.groups import DequantizeGroups, GroupQuantizer
from methods.layers.signed import Signs


def weight_scale(weight: Tensor, bits: int) -> Tensor:
    """The grid's step per output channel, so that the largest magnitude is the largest code. [out, ...] -> [out]."""
    largest = weight.detach().float().abs().reshape(weight.shape[0], -1).amax(dim=1)  # [out]
    step = largest / largest_weight_code(bits)  # not a number where a weight is not: rounding must not hide that
    return torch.where(largest <= SMALLEST_RANGE, 1.0, step)


def largest_weight_code(bits: int) -> int:
    """Codes are symmetric, [-c, c] with c = 2^(bits-1) - 1: -128 is left out, so that -w has the code of w negated."""
    return 2 ** (bits - 1) - 1


class WeightQuantizer(Constraint):
    """Rounds a stored tensor to `bits` bits, a grid for each index of axis 0; 0.0 stays 0.0, so masks before it hold.

    The grid follows the tensor: its step is computed from the current values, in training and afterwards.
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        check_bits(bits)
        self.bits = bits

    def config(self) -> dict[str, Any]:
        return {"bits": self.bits}

    def scale(self, tensor: Tensor) -> Tensor:
        """The steps [out] for the values `tensor` [out, ...]."""
        return weight_scale(tensor, self.bits)

    def forward(self, tensor: Tensor) -> Tensor:
        """[out, ...] float -> the same shape, float32, on the grid."""
        return rounded(tensor, self.scale(tensor), self.bits)

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        """int8 codes [out, ...] and the `Dequantize` that maps them to exactly what `forward` returns."""
        return _codes(self(tensor.detach()), self.scale(tensor))


class StepQuantizer(Constraint):
    """Rounds a stored tensor to `bits` bits with steps of its own [out], which saturate what is beyond the last code.

    learned: the steps are a parameter that is trained with the weights; their gradients are those of learned step size
    quantisation, divided by the square root of a channel's weights times the largest code (Esser et al. 2020, arXiv
    1902.08153, equations 3 and 4, section 2.2). Otherwise they stay as they were set.
    """

    step: Tensor  # float32 [out]

    def __init__(self, bits: int, channels: int, learned: bool = False) -> None:
        super().__init__()
        check_bits(bits)
        self.bits, self.learned = bits, learned
        self._hold(torch.ones(channels))

    @classmethod
    def of(cls, step: Tensor, bits: int, *, learned: bool = False) -> StepQuantizer:
        """step: [out], above 0."""
        quantizer = cls(bits, len(step), learned)
        quantizer._hold(step.detach().float().clone())
        return quantizer

    def config(self) -> dict[str, Any]:
        return {"bits": self.bits, "channels": len(self.step), "learned": self.learned}

    def scale(self, tensor: Tensor) -> Tensor:
        """The steps [out]; kept above 0, wherever training has driven them."""
        return self.step.abs().clamp(min=SMALLEST_RANGE)

    def forward(self, tensor: Tensor) -> Tensor:
        """[out, ...] float -> the same shape, float32, on the grid."""
        scale = self.scale(tensor)
        if not (self.learned and self.training and torch.is_grad_enabled()):
            return rounded(tensor, scale.detach(), self.bits)
        largest = largest_weight_code(self.bits)
        factor = 1 / math.sqrt(max(1, tensor[0].numel()) * largest)
        step = along_axis_0(scale * factor + (scale - scale * factor).detach(), tensor.ndim)
        inside = (tensor.float() / step).clamp(-largest, largest)
        return (inside + (inside.round() - inside).detach()) * step

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        """int8 codes [out, ...] and the `Dequantize` that maps them to exactly what `forward` returns."""
        scale = self.scale(tensor).detach()
        return _codes(rounded(tensor.detach(), scale, self.bits), scale)

    def freeze(self) -> None:
        """From now on the steps stay."""
        step, self.learned = self.scale(self.step).detach(), False
        del self.step
        self._hold(step)

    def _hold(self, step: Tensor) -> None:
        if self.learned:
            self.step = nn.Parameter(step)
        else:
            self.register_buffer("step", step)

    @torch.no_grad()
    def rescale(self, factors: Tensor) -> None:
        """For a tensor whose channels have been multiplied by `factors` [out]."""
        self.step.mul_(factors.abs().clamp(min=SMALLEST_RANGE))


class Dequantize(Constraint):
    """Reads int8 codes [out, ...] back as float32: codes * scale[out]."""

    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels))

    @classmethod
    def of(cls, scale: Tensor) -> Dequantize:
        """scale: float32 [out]."""
        reader = cls(len(scale))
        reader.scale = scale.detach().clone()
        return reader

    def config(self) -> dict[str, Any]:
        return {"channels": len(self.scale)}

    def forward(self, tensor: Tensor) -> Tensor:
        return tensor.to(torch.float32) * along_axis_0(self.scale, tensor.ndim)

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return tensor, self


_ON_A_GRID = (
    WeightQuantizer, StepQuantizer, Dequantize, GroupQuantizer, DequantizeGroups, ActivationQuantizer, DynamicQuantizer,
    Codebook, Signs,
)  # fmt: skip


def is_quantized(model: nn.Module) -> bool:
    """Whether any tensor or activation of `model` is on a grid already."""
    return any(isinstance(module, _ON_A_GRID) for module in model.modules())


def rounded(tensor: Tensor, scale: Tensor, bits: int) -> Tensor:
    """`tensor` [out, ...] on the symmetric grid of `bits` bits and steps `scale` [out], float32."""
    largest, zero_point = largest_weight_code(bits), torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(tensor.float(), scale, zero_point, 0, -largest, largest)


def check_bits(bits: int) -> None:
    """Raises ValueError for bits that codes of a byte cannot have."""
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be in 2..8, got {bits}: codes are stored as int8")


def _codes(on_grid: Tensor, scale: Tensor) -> tuple[Tensor, Dequantize]:
    return torch.round(on_grid / along_axis_0(scale, on_grid.ndim)).to(torch.int8), Dequantize.of(scale)


def along_axis_0(values: Tensor, ndim: int) -> Tensor:
    """[out] -> [out, 1, 1, ...] of `ndim` axes."""
    return values.view(-1, *(1,) * (ndim - 1))
