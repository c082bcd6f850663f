"""Ranges of activations from a few hundred images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.fx import GraphModule

from methods.layers.quantization import LARGEST_CODE, activation_grid
from methods.layers.watching import watching
from methods.quantization.placement import activation_quantizers

Observer = Literal["mse", "minmax"]
_SAMPLES_PER_BATCH = 8192  # values kept of each activation and batch for the error search
_FRACTIONS = torch.linspace(1.0, 0.3, 36)  # of the observed range that the search tries


class _Seen:
    """Smallest and largest value of one activation, and an even sample of the values."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0
        self.samples: list[Tensor] = []

    def add(self, activations: Tensor) -> None:
        flat = activations.detach().float().flatten()
        low, high = (end.item() for end in flat.aminmax())
        if not math.isfinite(high - low):
            raise ValueError(f"activations range over [{low}, {high}]: the network has diverged")
        self.low, self.high = min(self.low, low), max(self.high, high)
        stride = max(1, flat.numel() // _SAMPLES_PER_BATCH) | 1  # odd: meets every channel and pixel of a 2^n tensor
        self.samples.append(flat[len(self.samples) % stride :: stride].cpu())


def calibrate(model: GraphModule, batches: Iterable[Tensor], observer: Observer) -> GraphModule:
    """Sets the range of every quantiser of `model` from what it sees of `batches` [n, c, h, w], in place.

    Raises:
        ValueError: there are no images, or activations are not finite.
    """
    model.eval()
    seen = {quantizer: _Seen() for quantizer in activation_quantizers(model)}
    with watching(seen, lambda quantizer, x: seen[quantizer].add(x)), torch.no_grad():
        images = sum(len(model(batch)) for batch in batches)
    if not images:
        raise ValueError("no images to calibrate with: the task's training part is empty")
    for quantizer, values in seen.items():
        low, high = values.low, values.high
        if observer == "mse":
            low, high = least_squares_range(torch.cat(values.samples), low, high)
        quantizer.set_range(low, high)
        quantizer.freeze()
    return model


def least_squares_range(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """The range inside [low, high] whose uint8 grid rounds `values` [n] with the least squared error.

    Clipping the tails makes the grid finer for all that is left (arXiv 1806.08342, section 3.2 leaves the choice
    open). The upper end is sought first, then the lower end; [low, high] itself is among the candidates.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    high = min((float(f) * high for f in _FRACTIONS), key=lambda end: _squared_error(values, low, end))
    low = min((float(f) * low for f in _FRACTIONS), key=lambda end: _squared_error(values, end, high))
    return low, high


def _squared_error(values: Tensor, low: float, high: float) -> float:
    scale, zero_point = activation_grid(torch.tensor(low), torch.tensor(high))
    rounded = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, LARGEST_CODE)
    return float((values - rounded).square().sum())
