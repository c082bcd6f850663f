"""Multiply-accumulates of one image: convolutions, linear layers, matrix products and attention.

Counted as in the literature: biases, normalisations, activations and pooling are left out, and so is work on the
weights themselves (masks, dequantisation). Multiplications by zero count: a dense kernel does them. A layer of ours
states the count of the path it takes. Beside it stands what is left without products by a weight that is zero.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx import GraphModule
from torch.nn.utils import parametrize

from bench.measure.nonzeros import nonzero_products, nonzero_share
from methods.layers import CompressedLayer


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates: all of them, and those whose weight is not zero; activations that are zero count."""

    total: int
    nonzero: int


def macs_of(model: GraphModule, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of `model` on one image of `input_shape` [c, h, w]."""
    return count_macs(model, input_shape).total


def count_macs(model: GraphModule, input_shape: tuple[int, ...]) -> Macs:
    """Multiply-accumulates of `model` on one image of `input_shape` [c, h, w], by running it on a blank one."""
    tensor = next(iter([*model.parameters(), *model.buffers()]), None)
    image = torch.zeros(1, *input_shape, device=tensor.device if tensor is not None else "cpu")
    counter = _Counter(model)
    with torch.no_grad():
        counter.run(image)
    return Macs(counter.macs, counter.nonzero)


class _Counter(fx.Interpreter):
    """Runs a graph and adds up what its nodes cost."""

    macs = 0
    nonzero = 0

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = self.fetch_attr(target)
        out = layer(*args, **kwargs)
        macs = _layer_macs(layer, args, kwargs, out)
        if macs:
            self._add(macs, nonzero_products(layer, macs, args[0], out))
        return out

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = target(*args, **kwargs)
        if rule := _FUNCTION_MACS.get(target):
            macs = rule(out, *args, **kwargs)
            weight = args[1] if target in _TAKE_A_WEIGHT and len(args) > 1 else None
            self._add(macs, macs if weight is None else round(macs * nonzero_share(weight)))
        return out

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = super().call_method(target, args, kwargs)
        if target == "matmul":
            macs = _matmul(out, *args, **kwargs)
            self._add(macs, macs)
        return out

    def _add(self, macs: int, nonzero: int) -> None:
        self.macs += macs
        self.nonzero += nonzero


def _layer_macs(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    if isinstance(layer, CompressedLayer):
        return layer.macs(tuple(args[0].shape), tuple(out.shape))
    kind = parametrize.type_before_parametrizations(layer)
    if kind in (nn.Conv1d, nn.Conv2d):
        return _conv(out, args[0], layer.weight)  # type: ignore[arg-type]
    if kind is nn.ConvTranspose2d:  # each input value meets every tap: weight [in, out / groups, kh, kw]
        return args[0].numel() * math.prod(layer.weight.shape[1:])  # type: ignore[union-attr, index, arg-type]
    if kind is nn.Linear:
        return _linear(out, args[0], layer.weight)  # type: ignore[arg-type]
    if kind is nn.MultiheadAttention:
        return _multihead(layer, *args, **kwargs)  # type: ignore[arg-type]
    return 0


def _conv(out: Tensor, images: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return out.numel() * math.prod(weight.shape[1:])  # weight [out, in / groups, *kernel]


def _linear(out: Tensor, values: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return out.numel() * weight.shape[-1]


def _matmul(out: Tensor, left: Tensor, right: Tensor, **_: Any) -> int:
    return out.numel() * left.shape[-1]


def _einsum(out: Tensor, equation: str, *operands: Any) -> int:
    """Output values x contracted sizes x (operands - 1): exact for two operands, the naive loop for more."""
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    terms, arrow, result = equation.replace(" ", "").partition("->")
    letters = terms.replace(",", "").replace(".", "")
    kept = result if arrow else {letter for letter in letters if letters.count(letter) == 1}
    sizes: dict[str, int] = {}
    for term, operand in zip(terms.split(","), operands, strict=True):
        head, _, tail = term.partition("...")
        for index, letter in enumerate(head):
            sizes[letter] = operand.shape[index]
        for index, letter in enumerate(reversed(tail), start=1):
            sizes[letter] = operand.shape[-index]
    return out.numel() * math.prod(size for letter, size in sizes.items() if letter not in kept) * (len(operands) - 1)


def _attention(out: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """query [..., l, e], key [..., s, e], value [..., s, v]: q k^T and its product with v; causal masks not used."""
    pairs = out.numel() // out.shape[-1] * key.shape[-2]  # [..., l, s]
    return pairs * (query.shape[-1] + value.shape[-1])


def _multihead(layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Projections of q [n, l, e], k [n, s, k], v [n, s, v], attention, and the projection out."""
    embed = layer.embed_dim
    length, batch = query.numel() // embed, 1  # rows of q over the batch
    if query.ndim == 3:
        batch = query.shape[0 if layer.batch_first else 1]
    source = key.numel() // key.shape[-1]  # rows of k over the batch
    extra = (layer.bias_k is not None) + bool(layer.add_zero_attn)
    projections = (length + length) * embed * embed + source * (key.shape[-1] + value.shape[-1]) * embed
    return projections + 2 * length * (source // batch + extra) * embed


_FUNCTION_MACS: dict[Any, Callable[..., int]] = {
    torch.matmul: _matmul,
    torch.bmm: _matmul,
    operator.matmul: _matmul,
    torch.einsum: _einsum,
    torch.conv2d: _conv,
    F.conv2d: _conv,
    F.linear: _linear,
    F.scaled_dot_product_attention: _attention,
}
_TAKE_A_WEIGHT = (torch.conv2d, F.conv2d, F.linear)  # as their second argument
