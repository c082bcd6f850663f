"""Quantised tensors: weights on a per-channel grid, activations on a per-tensor grid.

Idea: r = S (q - Z) with q a small integer (Jacob et al. 2018, arXiv 1712.05877, equation 1); Z is 0 for weights
(symmetric, one S per output channel: Krishnamoorthi 2018, arXiv 1806.08342, section 3.1) and the integer that stands
for exactly 0.0 for activations (affine, one S per tensor). While training, values are rounded to the grid and carried
on as float32 ("fake quantisation"), gradients pass straight through inside the range and are 0 outside
(arXiv 1712.05877, section 3).
Stored form: int8 codes and one float32 scale per output channel for weights; scale and zero point for activations.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from methods.layers.base import CompressedLayer
from methods.layers.constraints import Constraint

Mode = Literal["calibrating", "averaging", "frozen"]
LARGEST_CODE = 255  # activations are uint8
_AVERAGING_RATE = 0.01  # weight of the newest batch in the moving average of a range
_SMALLEST_RANGE = 1e-20  # a tensor or channel smaller than this is all zeros to the grid


def weight_scale(weight: Tensor, bits: int) -> Tensor:
    """The grid's step per output channel, so that the largest magnitude is the largest code. [out, ...] -> [out]."""
    largest = weight.detach().float().abs().reshape(weight.shape[0], -1).amax(dim=1)  # [out]
    step = largest / largest_weight_code(bits)  # not a number where a weight is not: rounding must not hide that
    return torch.where(largest <= _SMALLEST_RANGE, 1.0, step)


def largest_weight_code(bits: int) -> int:
    """Codes are symmetric, [-c, c] with c = 2^(bits-1) - 1: -128 is left out, so that -w has the code of w negated."""
    return 2 ** (bits - 1) - 1


class WeightQuantizer(Constraint):
    """Rounds a stored tensor to `bits` bits, a grid for each index of axis 0; 0.0 stays 0.0, so masks before it hold.

    The grid follows the tensor: its step is computed from the current values, in training and afterwards.
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        if not 2 <= bits <= 8:
            raise ValueError(f"bits must be in 2..8, got {bits}: codes are stored as int8")
        self.bits = bits

    def config(self) -> dict[str, Any]:
        return {"bits": self.bits}

    def forward(self, tensor: Tensor) -> Tensor:
        """[out, ...] float -> the same shape, float32, on the grid."""
        scale, largest = weight_scale(tensor, self.bits), largest_weight_code(self.bits)
        zero_point = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(tensor.float(), scale, zero_point, 0, -largest, largest)

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        """int8 codes [out, ...] and the `Dequantize` that maps them to exactly what `forward` returns."""
        scale = weight_scale(tensor, self.bits)
        codes = torch.round(self(tensor.detach()) / _along_axis_0(scale, tensor.ndim)).to(torch.int8)
        return codes, Dequantize.of(scale)


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
        return tensor.to(torch.float32) * _along_axis_0(self.scale, tensor.ndim)

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return tensor, self


class ActivationQuantizer(CompressedLayer):
    """Rounds activations to uint8 on one affine grid; 0.0 is on the grid exactly, so padding and ReLU keep it.

    Modes: `calibrating` passes values on unchanged while a range is sought; `averaging` rounds, and in train mode
    first moves the range towards the batch's minimum and maximum (arXiv 1712.05877, section 3.1); `frozen` rounds.
    """

    scale: Tensor  # float32 []
    zero_point: Tensor  # int32 [], in 0..255
    low: Tensor  # float32 []: ends of the averaged range, there while averaging
    high: Tensor

    def __init__(self, mode: Mode = "calibrating") -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))
        self.mode: Mode = "frozen"
        self._set_mode(mode)

    def config(self) -> dict[str, Any]:
        return {"mode": self.mode}

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return 0

    def average(self) -> None:
        """From now on training moves the range."""
        self._set_mode("averaging")

    def freeze(self) -> None:
        """From now on nothing moves the range."""
        self._set_mode("frozen")

    def set_range(self, low: float, high: float) -> None:
        """The grid that spans [low, high], widened to hold 0.0.

        Raises:
            ValueError: a bound is not finite, as the activations of a diverged network are.
        """
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        scale, zero_point = activation_grid(torch.tensor(low), torch.tensor(high))
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def range(self) -> tuple[float, float]:
        """The smallest and largest value on the grid."""
        scale, zero_point = self.scale.item(), self.zero_point.item()
        return -zero_point * scale, (LARGEST_CODE - zero_point) * scale

    def forward(self, activations: Tensor) -> Tensor:
        """[...] float -> the same shape, float32."""
        if self.mode == "calibrating":
            return activations
        activations = activations.float()
        if self.mode == "averaging" and self.training:
            self._follow(activations.detach())
        return torch.fake_quantize_per_tensor_affine(activations, self.scale, self.zero_point, 0, LARGEST_CODE)

    def _set_mode(self, mode: Mode) -> None:
        if mode == "averaging":
            low, high = -self.zero_point * self.scale, (LARGEST_CODE - self.zero_point) * self.scale
            self.register_buffer("low", low)  # float32 []: a rounded zero point would swallow the small steps of the
            self.register_buffer("high", high)  # average; no value is read, so it can be made without storage
        elif self.mode == "averaging":
            del self.low, self.high
        self.mode = mode

    def _follow(self, activations: Tensor) -> None:
        low, high = activations.aminmax()
        self.low.lerp_(low.clamp(max=0), _AVERAGING_RATE)
        self.high.lerp_(high.clamp(min=0), _AVERAGING_RATE)
        scale, zero_point = activation_grid(self.low, self.high)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)


def activation_grid(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Step (float32 []) and zero point (int32 []) of the uint8 grid over [low, high], low <= 0 <= high.

    Raises:
        ValueError: a bound is not finite.
    """
    width = high - low
    if not torch.isfinite(width):
        raise ValueError(f"activations range over [{low.item()}, {high.item()}]: the network has diverged")
    scale = torch.where(width > _SMALLEST_RANGE, width / LARGEST_CODE, 1.0)
    return scale, torch.round(-low / scale).clamp(0, LARGEST_CODE).to(torch.int32)


def is_quantized(model: nn.Module) -> bool:
    """Whether any tensor or activation of `model` is on a grid already."""
    return any(isinstance(module, WeightQuantizer | Dequantize | ActivationQuantizer) for module in model.modules())


def _along_axis_0(values: Tensor, ndim: int) -> Tensor:
    """[out] -> [out, 1, 1, ...] of `ndim` axes."""
    return values.view(-1, *(1,) * (ndim - 1))
