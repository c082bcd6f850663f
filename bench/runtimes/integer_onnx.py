"""Dynamically quantised layers in ONNX's integer operators: DynamicQuantizeLinear, MatMulInteger, ConvInteger.

They exist in exported graphs only: the modules here stand for those operators while a network is being exported.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from methods.layers import constraints, original
from methods.layers.quantization import Dequantize, along_axis_0

_VERSION = 18


class RoundDynamically(nn.Module):
    """[...] float -> uint8 codes of that shape, their step and their zero point (scalars)."""

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        codes, step, zero_point = torch.onnx.ops.symbolic_multi_out(
            "DynamicQuantizeLinear", (values,), dtypes=(torch.uint8, torch.float32, torch.uint8),
            shapes=(values.shape, (), ()), version=_VERSION,
        )  # fmt: skip
        return codes, step, zero_point


class RoundAndReadBack(nn.Module):
    """[...] float -> float [...], rounded to the grid of the values at hand."""

    def forward(self, values: Tensor) -> Tensor:
        rounded = RoundDynamically()(values)
        return torch.onnx.ops.symbolic(
            "DequantizeLinear", rounded, dtype=torch.float32, shape=values.shape, version=_VERSION
        )


class IntegerLinear(nn.Module):
    """A linear layer of int8 codes on rounded values: [..., in] -> float [..., out]."""

    codes: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        codes, scale = codes_of(layer)
        self.register_buffer("codes", codes.T.contiguous())  # int8 [in, out]
        self.register_buffer("scale", scale)  # float32 [out]
        self.bias = layer.bias

    def forward(self, rounded: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        values, step, zero_point = rounded
        sums = torch.onnx.ops.symbolic(
            "MatMulInteger", (values, self.codes, zero_point), dtype=torch.int32,
            shape=(*values.shape[:-1], self.codes.shape[1]), version=_VERSION,
        )  # fmt: skip
        return _scaled(sums, step * self.scale, self.bias)


class IntegerConv2d(nn.Module):
    """A convolution of int8 codes on rounded values: [n, in, h, w] -> float [n, out, h', w']."""

    codes: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        codes, scale = codes_of(layer)
        self.register_buffer("codes", codes)  # int8 [out, in / groups, kh, kw]
        self.register_buffer("scale", along_axis_0(scale, 3))  # float32 [out, 1, 1]
        self.bias = None if layer.bias is None else nn.Parameter(along_axis_0(layer.bias.detach(), 3))
        assert not isinstance(layer.padding, str)
        self.kernel, self.stride, self.dilation = layer.kernel_size, layer.stride, layer.dilation
        self.padding, self.groups = layer.padding, layer.groups

    def forward(self, rounded: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        values, step, zero_point = rounded
        sums = torch.onnx.ops.symbolic(
            "ConvInteger", (values, self.codes, zero_point), self._attributes(), dtype=torch.int32,
            shape=(values.shape[0], self.codes.shape[0], *self._sides(values)), version=_VERSION,
        )  # fmt: skip
        return _scaled(sums, step * self.scale, self.bias)

    def _attributes(self) -> dict[str, Any]:
        return {
            "kernel_shape": list(self.kernel), "strides": list(self.stride), "dilations": list(self.dilation),
            "pads": [*self.padding, *self.padding], "group": self.groups,
        }  # fmt: skip

    def _sides(self, values: Tensor) -> list[int]:
        """Height and width of the output."""
        reach = [dilation * (taps - 1) for dilation, taps in zip(self.dilation, self.kernel, strict=True)]
        return [
            (values.shape[2 + axis] + 2 * self.padding[axis] - reach[axis] - 1) // self.stride[axis] + 1
            for axis in range(2)
        ]


def _scaled(sums: Tensor, step: Tensor, bias: Tensor | None) -> Tensor:
    """Sums of codes as float, [..., out] or [n, out, h, w]; step and bias broadcast to them."""
    product = sums.float() * step
    return product if bias is None else product + bias


def codes_of(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """The codes of a layer's weight (int8, the weight's shape) and their steps (float32 [out])."""
    (reader,) = constraints(layer, "weight")
    assert isinstance(reader, Dequantize)
    return original(layer, "weight").detach(), reader.scale


def in_integers(layer: nn.Module) -> nn.Module | None:
    """The layer in integer operators, or None where these cannot compute it."""
    match layer:
        case nn.Linear():
            return IntegerLinear(layer)
        case nn.Conv2d(padding=tuple(), padding_mode="zeros"):
            return IntegerConv2d(layer)
    return None
