"""Networks whose weights and activations are floating-point numbers of 16 bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bench.runtimes.lowering import baked
from methods.graph import modules_called, replace_module
from methods.layers.activations import LARGEST_CODE, ActivationQuantizer


def in_16_bits(model: GraphModule, dtype: torch.dtype) -> nn.Module:
    """A copy of `baked` whose weights and activations are of `dtype`; takes float32 images.

    Activation quantisers round in float32: their grid would not survive 8 bits.
    """
    low = baked(model)
    grids = {path: one for path, one in modules_called(low).items() if isinstance(one, ActivationQuantizer)}
    kept = {path: (one.scale.item(), int(one.zero_point.item())) for path, one in grids.items()}
    low.to(dtype)
    for path, (scale, zero_point) in kept.items():
        replace_module(low, path, _RoundThenCast(scale, zero_point, dtype))
    return _CastThenRun(low, dtype)


class _RoundThenCast(nn.Module):
    """An activation quantiser whose values go on in another type."""

    def __init__(self, scale: float, zero_point: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale, self.zero_point, self.dtype = scale, zero_point, dtype

    def forward(self, activations: Tensor) -> Tensor:
        grid = (self.scale, self.zero_point, 0, LARGEST_CODE)
        return torch.fake_quantize_per_tensor_affine(activations.float(), *grid).to(self.dtype)


class _CastThenRun(nn.Module):
    """A network on images of another type than float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.to(self.dtype))
