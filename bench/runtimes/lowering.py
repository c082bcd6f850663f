"""Shipped networks in the forms that runtimes take.

`baked`: plain float32 tensors, for eager. `spelled_out`: quantise and dequantise as operations of their own, which
compilers and exporters know; in eager they would be slow, so layers themselves use the native fake-quantise operation.
"""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx import GraphModule
from torch.nn.utils import parametrize

from bench.runtimes.integer_onnx import RoundAndReadBack, RoundDynamically, in_integers
from methods.graph import modules_called, replace_module
from methods.layers import BasisTransform, SpectralLinear, constrained_tensors, constraints, kind_of, release
from methods.layers.activations import LARGEST_CODE, SMALLEST_RANGE, ActivationQuantizer, DynamicQuantizer
from methods.layers.quantization import Dequantize, largest_weight_code

Target = Literal["compiler", "onnx"]
_INT8_KERNELS: dict[str, tuple[type[nn.Module], ...]] = {
    "onnx": (nn.Conv1d, nn.Conv2d, nn.Linear),
    "compiler": (nn.Conv2d, nn.Linear),  # of one-dimensional convolutions with padding it makes code that fails (2.13)
}
_MOVES_VALUES = {
    "MaxPool2d", "AdaptiveMaxPool2d", "Flatten", "Unflatten", torch.flatten, torch.reshape, F.max_pool2d,
    F.adaptive_max_pool2d, "view", "reshape", "flatten",
}  # fmt: skip
_TOP_OF_CLAMP: dict[object, float] = {
    "ReLU": math.inf, F.relu: math.inf, torch.relu: math.inf, "relu": math.inf, "relu_": math.inf,
    "ReLU6": 6.0, F.relu6: 6.0,
}  # fmt: skip


def baked(model: GraphModule) -> GraphModule:
    """A copy without constraints: each tensor as the layer computes with it. Other tensors are shared, not copied."""
    model = sharing_copy(model)
    for layer in list(model.modules()):
        _bake(layer)
    return model


def spelled_out(model: GraphModule, target: Target = "compiler") -> GraphModule:
    """A copy of a shipped network in which quantisation is `torch.ops.quantized_decomposed` operations, or ONNX's
    integer operators where activations are rounded dynamically and the target is ONNX.

    Weights stay int8 codes only where an int8 kernel may read them; layers of our own compute in float32.
    """
    import torch.ao.quantization.fx._decomposed  # noqa: F401  # defines the operations

    model = sharing_copy(model)
    for layer in model.modules():
        if isinstance(layer, SpectralLinear):
            layer.hold_bases()
    if not any(isinstance(one, ActivationQuantizer | DynamicQuantizer) for one in model.modules()):
        return baked(model)
    _drop_clamps_that_rounding_does(model)
    give_each_call_a_layer(model)
    for path, layer in modules_called(model).items():
        if isinstance(layer, BasisTransform) and layer.bits is not None:
            replace_module(model, path, layer.plain())
    if target == "onnx":
        _round_dynamically_in_onnx(model)
    else:
        _round_again_before_kernels(model)
    for path, layer in modules_called(model).items():
        if isinstance(layer, DynamicQuantizer):
            replace_module(model, path, _RoundDynamically())
        if isinstance(layer, ActivationQuantizer):
            replace_module(model, path, _Round(layer.scale.item(), int(layer.zero_point.item())))
        elif _has_int8_kernels(layer, target):
            _spell_out_weights(layer)
    for layer in list(model.modules()):
        if not any(
            isinstance(one, _ReadCodes) for name in constrained_tensors(layer) for one in constraints(layer, name)
        ):
            _bake(layer)
    return model


class _Round(nn.Module):
    """An activation quantiser with its grid as constants of the graph."""

    def __init__(self, scale: float, zero_point: int) -> None:
        super().__init__()
        self.scale, self.zero_point = scale, zero_point

    def forward(self, activations: Tensor) -> Tensor:
        ops, grid = torch.ops.quantized_decomposed, (self.scale, self.zero_point, 0, LARGEST_CODE, torch.uint8)
        return ops.dequantize_per_tensor(ops.quantize_per_tensor(activations, *grid), *grid)


class _RoundDynamically(nn.Module):
    """A dynamic quantiser as operations; the compiler knows them in this order."""

    def forward(self, activations: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        scale, zero_point = ops.choose_qparams.tensor(activations, 0, LARGEST_CODE, SMALLEST_RANGE, torch.uint8)
        grid = (scale, zero_point, 0, LARGEST_CODE, torch.uint8)
        return ops.dequantize_per_tensor.tensor(ops.quantize_per_tensor.tensor(activations, *grid), *grid)


class _ReadCodes(nn.Module):
    """`Dequantize` as one operation."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)  # float32 [out]
        self.register_buffer("zero_point", torch.zeros_like(scale, dtype=torch.int64))

    def forward(self, codes: Tensor) -> Tensor:
        largest = largest_weight_code(8)
        return torch.ops.quantized_decomposed.dequantize_per_channel(
            codes, self.scale, self.zero_point, 0, -largest, largest, torch.int8
        )


def _round_dynamically_in_onnx(model: GraphModule) -> None:
    """Puts ONNX's integer operators for the layers that read dynamically rounded values, where these can do it."""
    layers = modules_called(model)
    for node in list(model.graph.nodes):
        if node.op != "call_module" or not isinstance(layers[node.target], DynamicQuantizer):
            continue
        integer = {user: made for user in node.users if (made := in_integers(layers[user.target])) is not None}
        if len(integer) < len(node.users):  # a reader has no integer operator: all multiply what is read back
            replace_module(model, node.target, RoundAndReadBack())
            continue
        replace_module(model, node.target, RoundDynamically())
        for user, layer in integer.items():
            replace_module(model, user.target, layer)


def _round_again_before_kernels(model: GraphModule) -> None:
    """Puts a quantiser of the same grid before each layer that reads one through what only moves values: the compiler
    sees an int8 kernel only where the two meet, and rounding again changes nothing."""
    layers = modules_called(model)
    for node in list(model.graph.nodes):
        if node.op != "call_module" or not _has_int8_kernels(layers[node.target], "compiler"):
            continue
        before = node.args[0]
        while (step := _only_reads(model, before)) is not None:
            before = step
        quantizer = layers.get(before.target) if before.op == "call_module" else None
        if before is not node.args[0] and isinstance(quantizer, ActivationQuantizer):
            path = f"{before.target}_{node.name}_again"
            model.add_submodule(path, copy.deepcopy(quantizer))
            with model.graph.inserting_before(node):
                again = model.graph.call_module(path, (node.args[0],))
            node.replace_input_with(node.args[0], again)
    model.recompile()


def _has_int8_kernels(layer: nn.Module, target: Target) -> bool:
    return parametrize.type_before_parametrizations(layer) in _INT8_KERNELS[target]


def _only_reads(model: GraphModule, node: fx.Node) -> fx.Node | None:
    """What `node` moves or picks values of, or None if it computes new ones."""
    target = kind_of(model.get_submodule(str(node.target))) if node.op == "call_module" else node.target
    return node.all_input_nodes[0] if target in _MOVES_VALUES else None


def _drop_clamps_that_rounding_does(model: GraphModule) -> None:
    """Takes out each ReLU or ReLU6 whose only reader is a quantiser that saturates at the same ends: codes stay."""
    layers = modules_called(model)
    for node in list(model.graph.nodes):
        if node.op != "call_module" or not isinstance(quantizer := layers[node.target], ActivationQuantizer):
            continue
        clamp = node.args[0]
        top = _TOP_OF_CLAMP.get(kind_of(layers[clamp.target]) if clamp.op == "call_module" else clamp.target)
        _, high = quantizer.range()
        if top and len(clamp.users) == 1 and quantizer.zero_point == 0 and high <= top + quantizer.scale / 2:
            clamp.replace_all_uses_with(clamp.args[0])
            model.graph.erase_node(clamp)
    model.recompile()


def give_each_call_a_layer(model: GraphModule) -> None:
    """Copies layers that are called again: ONNX Runtime cannot rewrite codes that two kernels read (1.31.1)."""
    seen: set[str] = set()
    for node in model.graph.nodes:
        if node.op == "call_module" and node.target in seen:
            path = f"{node.target}_{node.name}_again"
            model.add_submodule(path, copy.deepcopy(model.get_submodule(node.target)))
            node.target = path
        seen.add(node.target)
    model.recompile()


def _spell_out_weights(layer: nn.Module) -> None:
    for name in list(constrained_tensors(layer)):
        match constraints(layer, name):
            case [Dequantize(scale=scale)]:
                if layer.bias is None:  # exporters write a missing bias as a computed one, which int8 kernels refuse
                    layer.bias = nn.Parameter(torch.zeros_like(scale), requires_grad=False)
                layer.parametrizations[name][0] = _ReadCodes(scale)  # type: ignore[index, union-attr, operator, assignment]


def _bake(layer: nn.Module) -> None:
    for name in list(constrained_tensors(layer)):
        with torch.no_grad():
            value = getattr(layer, name).detach().contiguous()  # compilers are wrong about other strides
        release(layer, name)
        setattr(layer, name, nn.Parameter(value, requires_grad=False))


def sharing_copy(model: GraphModule) -> GraphModule:
    """A copy whose tensors are new objects over the same memory: moving one to a device leaves the other there."""
    views: dict[int, Tensor] = {id(one): nn.Parameter(one.detach(), requires_grad=False) for one in model.parameters()}
    views |= {id(one): one.detach() for one in model.buffers()}
    return copy.deepcopy(model, views)  # type: ignore[arg-type]
