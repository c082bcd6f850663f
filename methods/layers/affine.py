"""A scale and a shift per channel: what is left of a batch norm once its statistics are fixed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.layers.base import CompressedLayer


class ChannelAffine(CompressedLayer):
    """y[n, c, ...] = x[n, c, ...] * scale[c] + shift[c], for inputs of two or more axes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.scale = nn.Parameter(torch.ones(channels))  # [c]
        self.shift = nn.Parameter(torch.zeros(channels))  # [c]

    @classmethod
    def of(cls, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> ChannelAffine:
        """The layer that computes what `norm` computes in eval mode, to rounding; `norm` keeps running statistics."""
        scale, shift = scale_and_shift(norm)
        layer = cls(norm.num_features)
        dtype = norm.running_mean.dtype  # type: ignore[union-attr]
        layer.scale = nn.Parameter(scale.to(dtype))
        layer.shift = nn.Parameter(shift.to(dtype))
        return layer

    def config(self) -> dict[str, int]:
        return {"channels": self.channels}

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, self.channels) + (1,) * (x.ndim - 2)
        return x * self.scale.view(shape) + self.shift.view(shape)

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        count = 1
        for size in output_shape:
            count *= size
        return count

    def extra_repr(self) -> str:
        return str(self.channels)


def scale_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Float64 factors and offsets [c], [c] that `norm` applies in eval mode.

    Raises:
        ValueError: the layer keeps no running statistics, so what it applies depends on the batch.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics has no fixed scale: train it with them")
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = torch.rsqrt(var + norm.eps)
    if norm.affine:
        scale = scale * norm.weight.detach().double()
    shift = -mean * scale
    if norm.affine:
        shift = shift + norm.bias.detach().double()
    return scale, shift
