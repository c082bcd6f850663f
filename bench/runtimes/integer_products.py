"""Quantised layers as integer matrix products: y[m, o] = s_x s_w[o] sum_k (q[m, k] - z) w[o, k] + b[o]
(arXiv 1712.05877, equations 3 and 7). Codes q are uint8 and the product takes int8, so 128 is taken from q and z."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx import GraphModule
from torch.nn.utils import parametrize

from bench.runtimes.lowering import baked, give_each_call_a_layer, sharing_copy
from methods.graph import modules_called, replace_module
from methods.layers import constraints, original
from methods.layers.activations import ActivationQuantizer
from methods.layers.kernel_products import DEPTH_MULTIPLE, scaled_product
from methods.layers.quantization import Dequantize

_SHIFT = 128  # from uint8 codes to int8 ones
# 0.0 is on every grid, so what pads with it or cuts off at it keeps values there
_KEEPS_GRID = (nn.Flatten, nn.MaxPool2d, nn.Identity, nn.Dropout, nn.ZeroPad2d, nn.ReLU)
_KEEPS_GRID_CALLED = {torch.flatten, F.max_pool2d, F.relu, torch.relu, "flatten", "view", "reshape", "contiguous"}


@dataclass(frozen=True)
class Multiplier:
    """What multiplies codes: int8 [m, k], int8 [n, k], float32 scale and offset [n] -> float32 [m, n].

    rows, columns, depth: multiples that m, n and k are padded to with zeros; fewest_rows: least m.
    """

    multiply: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    rows: int = 1
    columns: int = 1
    depth: int = 1
    fewest_rows: int = 1


def _by_int_mm(rows: Tensor, columns: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return torch._int_mm(rows, columns.t()) * scale + offset


BY_CUBLASLT = Multiplier(_by_int_mm, rows=8, columns=8, depth=8, fewest_rows=17)  # what it asks of its sizes
IN_ONE_KERNEL = Multiplier(scaled_product, depth=DEPTH_MULTIPLE)


def with_integer_products(model: GraphModule, multiplier: Multiplier = BY_CUBLASLT) -> tuple[GraphModule, int]:
    """A copy of a shipped network in which each layer that can is an integer product, and the number of those."""
    model = sharing_copy(model)
    give_each_call_a_layer(model)
    layers, products = modules_called(model), 0
    for node in model.graph.nodes:
        if node.op != "call_module" or not isinstance(node.args[0], fx.Node):
            continue
        quantizer, product = _quantizer_before(node.args[0], layers), None
        if quantizer is not None:
            product = _product(layers[node.target], quantizer, multiplier)
        if product is not None:
            replace_module(model, node.target, product)
            products += 1
    return baked(model), products


class IntegerProduct(nn.Module):
    """A linear layer, [..., in] -> [..., out], or a convolution, [n, in, h, w] -> [n, out, oh, ow], over codes."""

    columns: Tensor
    factor: Tensor
    offset: Tensor

    def __init__(
        self,
        layer: nn.Linear | nn.Conv2d,
        codes: Tensor,
        steps: Tensor,
        grid: ActivationQuantizer,
        multiplier: Multiplier = BY_CUBLASLT,
    ) -> None:
        """codes: int8 weights [out, ...]; steps: float32 [out], of the weights; grid: of what the layer reads."""
        super().__init__()
        rows = codes.detach().reshape(len(codes), -1)  # [out, k]
        self.step, self.zero_point = grid.scale.item(), int(grid.zero_point.item())
        self.out, self.inner = rows.shape
        factor = steps.detach().double() * self.step
        offset = factor * (_SHIFT - self.zero_point) * rows.sum(dim=1, dtype=torch.int64)
        bias = torch.zeros_like(factor) if layer.bias is None else layer.bias.detach().double()
        width, depth = _next(self.out, multiplier.columns), _next(self.inner, multiplier.depth)
        self.register_buffer("columns", _padded(rows, width, depth))  # int8
        self.register_buffer("factor", F.pad(factor.float(), (0, width - self.out)))
        self.register_buffer("offset", F.pad((offset + bias).float(), (0, width - self.out)))
        self.window, self._multiplier = _window(layer), multiplier

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 values on the grid, as the quantiser before this layer leaves them."""
        codes = (torch.round(x / self.step) + (self.zero_point - _SHIFT)).to(torch.int8)
        if self.window is None:
            return self._multiplied(codes.reshape(-1, self.inner)).reshape(*x.shape[:-1], self.out)
        (kh, kw), (sh, sw), (ph, pw) = self.window
        codes = F.pad(codes, (pw, pw, ph, ph), value=self.zero_point - _SHIFT)  # the code of 0.0
        windows = codes.unfold(2, kh, sh).unfold(3, kw, sw)  # [n, in, oh, ow, kh, kw]
        n, _, oh, ow = windows.shape[:4]
        rows = windows.permute(0, 2, 3, 1, 4, 5).reshape(n * oh * ow, self.inner)
        return self._multiplied(rows).reshape(n, oh, ow, self.out).permute(0, 3, 1, 2)

    def _multiplied(self, rows: Tensor) -> Tensor:
        """int8 [m, k] -> float32 [m, out]"""
        most = _next(max(len(rows), self._multiplier.fewest_rows), self._multiplier.rows)
        padded = _padded(rows, most, self.columns.shape[1])
        return self._multiplier.multiply(padded, self.columns, self.factor, self.offset)[: len(rows), : self.out]


def _padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """With zeros to the right and below, to that size."""
    right, down = columns - matrix.shape[1], rows - matrix.shape[0]
    return F.pad(matrix, (0, right, 0, down)) if right or down else matrix


def _next(size: int, multiple: int) -> int:
    """The next multiple."""
    return size + -size % multiple


_Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # kernel, stride, padding


def _window(layer: nn.Linear | nn.Conv2d) -> _Window | None:
    if isinstance(layer, nn.Linear):
        return None
    assert not isinstance(layer.padding, str)
    kh, kw = layer.kernel_size
    sh, sw = layer.stride
    ph, pw = layer.padding
    return (kh, kw), (sh, sw), (ph, pw)


def _product(layer: nn.Module, grid: ActivationQuantizer, multiplier: Multiplier) -> IntegerProduct | None:
    """The layer as an integer product, or None where it is not one of those that can be."""
    kind = parametrize.type_before_parametrizations(layer)
    if kind not in (nn.Linear, nn.Conv2d) or "weight" not in getattr(layer, "parametrizations", ()):
        return None
    if kind is nn.Conv2d and (layer.groups, layer.dilation, layer.padding_mode) != (1, (1, 1), "zeros"):
        return None
    if kind is nn.Conv2d and isinstance(layer.padding, str):
        return None
    match constraints(layer, "weight"):
        case [Dequantize(scale=steps)]:
            return IntegerProduct(layer, original(layer, "weight"), steps, grid, multiplier)  # type: ignore[arg-type]
    return None


def _quantizer_before(node: fx.Node, layers: dict[str, nn.Module]) -> ActivationQuantizer | None:
    """The quantiser whose grid `node` is on, through what leaves values on it."""
    while True:
        if node.op == "call_module":
            layer = layers[node.target]  # type: ignore[index]
            if isinstance(layer, ActivationQuantizer):
                return layer
            keeps = isinstance(layer, _KEEPS_GRID)
        else:
            keeps = node.target in _KEEPS_GRID_CALLED
        if not keeps or not isinstance(node.args[0], fx.Node):
            return None
        node = node.args[0]
