"""Activations on grids: one step and zero point a tensor, set beforehand (static) or by the values at hand (dynamic).

Idea: r = S (q - Z), q in 0..255, Z the integer that stands for exactly 0.0 (Jacob et al. 2018, arXiv 1712.05877,
equation 1). In training, values are rounded to the grid and carried on as float32, gradients pass straight through
inside the range and are 0 outside (section 3 there).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from methods.layers.base import CompressedLayer

Mode = Literal["calibrating", "averaging", "learning", "frozen"]
LARGEST_CODE = 255  # activations are uint8
SMALLEST_RANGE = 1e-20  # a tensor or channel smaller than this is all zeros to the grid
_AVERAGING_RATE = 0.01  # weight of the newest batch in the moving average of a range


class ActivationQuantizer(CompressedLayer):
    """Rounds activations to uint8 on one affine grid; 0.0 is on the grid exactly, so padding and ReLU keep it.

    Modes: `calibrating` passes values on unchanged while a range is sought; `averaging` rounds, and in train mode
    first moves the range towards the batch's minimum and maximum (arXiv 1712.05877, section 3.1); `learning` rounds
    with a step that is trained by gradient, the zero point as it was set (Esser et al. 2020, arXiv 1902.08153,
    equations 3 and 4 and section 2.2); `frozen` rounds.
    """

    scale: Tensor  # float32 []
    zero_point: Tensor  # int32 [], in 0..255
    low: Tensor  # float32 []: ends of the averaged range, there while averaging
    high: Tensor
    step: nn.Parameter  # float32 []: there while learning

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

    def learn(self) -> None:
        """From now on the step is trained with the weights."""
        self._set_mode("learning")

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
        if self.mode == "learning":
            return self._learning(activations)
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
        if mode == "learning":
            self.step = nn.Parameter(self.scale.clone())
        elif self.mode == "learning":
            self.scale.copy_(_usable(self.step.detach()))
            del self.step
        self.mode = mode

    def _learning(self, activations: Tensor) -> Tensor:
        """On the grid of `step`, which gets the gradient of learned step size quantisation, scaled as there."""
        step = _usable(self.step).view(1)
        per_image = activations.numel() / max(1, activations.shape[0] if activations.ndim else 1)
        return torch._fake_quantize_learnable_per_tensor_affine(
            activations, step, self.zero_point.float().view(1), 0, LARGEST_CODE,
            1 / math.sqrt(max(1.0, per_image) * LARGEST_CODE),
        )  # fmt: skip

    def _follow(self, activations: Tensor) -> None:
        low, high = activations.aminmax()
        self.low.lerp_(low.clamp(max=0), _AVERAGING_RATE)
        self.high.lerp_(high.clamp(min=0), _AVERAGING_RATE)
        scale, zero_point = activation_grid(self.low, self.high)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)


class DynamicQuantizer(CompressedLayer):
    """Rounds activations to uint8 on the grid that spans the values at hand: the whole batch's, widened to hold 0.0.

    As ONNX's DynamicQuantizeLinear: one step for the tensor, so what an image is rounded to depends on its batch.
    """

    def config(self) -> dict[str, Any]:
        return {}

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return 0

    def forward(self, activations: Tensor) -> Tensor:
        """[...] float -> the same shape, float32."""
        activations = activations.float()
        low, high = activations.detach().aminmax()
        scale, zero_point = _grid(low.clamp(max=0), high.clamp(min=0))
        return torch.fake_quantize_per_tensor_affine(activations, scale, zero_point, 0, LARGEST_CODE)


def _usable(step: Tensor) -> Tensor:
    """A step that training may have driven to zero or below it, kept above it."""
    return step.abs().clamp(min=SMALLEST_RANGE)


def activation_grid(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Step (float32 []) and zero point (int32 []) of the uint8 grid over [low, high], low <= 0 <= high.

    Raises:
        ValueError: a bound is not finite.
    """
    width = high - low
    if not torch.isfinite(width):
        raise ValueError(f"activations range over [{low.item()}, {high.item()}]: the network has diverged")
    return _grid(low, high)


def _grid(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    width = high - low
    scale = torch.where(width > SMALLEST_RANGE, width / LARGEST_CODE, 1.0)
    return scale, torch.round(-low / scale).clamp(0, LARGEST_CODE).to(torch.int32)
