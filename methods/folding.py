"""Folding batch norms into the layers before them.

In eval mode a batch norm multiplies each channel by a constant and adds another (Ioffe and Szegedy 2015, section 3.1),
so a convolution that only it reads can take both over: w'[c] = w[c] * s[c], b'[c] = b[c] * s[c] + t[c].
Constants are computed in float64 and rounded once.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from methods.layers import (
    BasisTransform,
    Mask,
    StepQuantizer,
    WeightQuantizer,
    constrained_tensors,
    constraints,
    kind_of,
    original,
)
from methods.layers.affine import scale_and_shift
from methods.layers.signed import BinaryWeights

_NORM_OF: dict[str | None, type[nn.Module]] = {
    "Conv1d": nn.BatchNorm1d,
    "Conv2d": nn.BatchNorm2d,
    "Linear": nn.BatchNorm1d,
}
_SCALES_WITH_CHANNELS = (Mask, WeightQuantizer, StepQuantizer, BinaryWeights)


def fold_batch_norms(model: GraphModule) -> GraphModule:
    """Folds, in place, each batch norm that alone reads a convolution or linear layer; eval-mode outputs stay.

    Masks and grids per output channel scale with the channel: weights under these are folded like others, and their
    codes stay. Left as they are: norms after layers of our own but `BasisTransform`, after weights under other
    constraints, after layers that are called twice or share tensors, and norms without running statistics. A linear
    layer counts as giving [n, c], so one that gives [n, c, c] must not be followed by a batch norm of c channels.
    """
    for node in list(model.graph.nodes):
        if not folds(model, node):
            continue
        layer, norm = model.get_submodule(node.args[0].target), model.get_submodule(node.target)
        _fold(layer, *scale_and_shift(norm))  # type: ignore[arg-type]
        node.replace_all_uses_with(node.args[0])
        model.graph.erase_node(node)
        model.delete_submodule(node.target)
    model.graph.lint()
    model.recompile()
    return model


def folds(model: GraphModule, node: fx.Node) -> bool:
    """Whether `node` calls a batch norm that can be folded into the layer whose result it reads."""
    if node.op != "call_module" or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    before = node.args[0]
    if before.op != "call_module" or len(before.users) != 1 or len(node.all_input_nodes) != 1:
        return False
    layer, norm = model.get_submodule(str(before.target)), model.get_submodule(str(node.target))
    if type(norm) is not _norm_after(layer) or norm.running_mean is None or norm.running_var is None:
        return False
    if _outputs(layer) != norm.num_features:
        return False
    if any(type(one) not in _SCALES_WITH_CHANNELS for one in constraints(layer, "weight")) or constraints(
        layer, "bias"
    ):
        return False
    if any(constrained_tensors(norm)):
        return False
    return _calls(model, layer) == 1 and _calls(model, norm) == 1 and not _shares_tensors(model, layer)


def _norm_after(layer: nn.Module) -> type[nn.Module] | None:
    """The kind of batch norm that `layer` can take over, or None."""
    if isinstance(layer, BasisTransform):
        return nn.BatchNorm2d if layer.domain == "conv" else nn.BatchNorm1d
    return _NORM_OF.get(kind_of(layer))


def _outputs(layer: nn.Module) -> int:
    return layer.out_channels if isinstance(layer, BasisTransform) else original(layer, "weight").shape[0]


def _calls(model: GraphModule, layer: nn.Module) -> int:
    calls = (node for node in model.graph.nodes if node.op == "call_module")
    return sum(model.get_submodule(node.target) is layer for node in calls)


def _shares_tensors(model: GraphModule, layer: nn.Module) -> bool:
    """Whether a parameter of `layer` is also another layer's, or read by the graph itself."""
    own = list(layer.modules())
    others = [module for module in model.modules() if not any(module is one for one in own)]
    mine = {id(tensor) for tensor in layer.parameters()}
    return any(id(tensor) in mine for module in others for tensor in module.parameters(recurse=False))


def _fold(layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """w' = w * scale, b' = b * scale + shift; the original under constraints is scaled. [out], [out]."""
    if isinstance(layer, BasisTransform):
        layer.rescale(scale, shift)
        return
    weight = original(layer, "weight")  # [out, in, ...]
    with torch.no_grad():
        scaled = weight.double() * scale.view(-1, *(1,) * (weight.ndim - 1))
        weight.copy_(scaled)  # rounds once
        bias = shift if layer.bias is None else layer.bias.double() * scale + shift  # type: ignore[operator]
        for constraint in constraints(layer, "weight"):
            if isinstance(constraint, StepQuantizer):
                constraint.rescale(scale)
    layer.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=weight.requires_grad)
