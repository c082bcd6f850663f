"""Cross-layer equalisation: channels of neighbouring layers are brought to like ranges (Nagel et al. 2019, arXiv
1906.04721, section 4.1).

What a channel's weights are divided by, the weights of the next layer that read it are multiplied by: a ReLU in between
lets positive factors through, so the function stays. A ReLU6 does not, so it becomes a ReLU, as there; a network whose
activations lie beyond 6 is changed by that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from methods.layers import Mask, constraints, kind_of, original

_ROUNDS = 20
_SMALLEST = 1e-8  # of a range: channels that are all but zero stay as they are
_POSITIVELY_HOMOGENEOUS = {
    "ReLU", "ReLU6", "Identity", "Dropout", "Dropout2d", "MaxPool2d", "AvgPool2d", F.relu, F.relu6, torch.relu, "relu",
    F.max_pool2d, F.avg_pool2d, F.dropout,
}  # fmt: skip
_CLIPS = {"ReLU6", F.relu6}


@dataclass(frozen=True)
class _Pair:
    """Two layers of which the second reads the first's channels and alone does, and the nodes between."""

    first: nn.Module
    second: nn.Module
    between: tuple[fx.Node, ...]


@torch.no_grad()
def equalize(model: GraphModule) -> GraphModule:
    """Equalises, in place, every chain of convolutions or linear layers of `model`; batch norms are to be folded."""
    pairs = _pairs(model)
    for _ in range(_ROUNDS):
        for pair in pairs:
            _equalize(pair.first, pair.second)
    for pair in pairs:
        for node in pair.between:
            _drop_clip(model, node)
    model.recompile()
    return model


def _pairs(model: GraphModule) -> list[_Pair]:
    calls = [node for node in model.graph.nodes if node.op == "call_module"]
    layers = [model.get_submodule(node.target) for node in calls]
    once = {node: layer for node, layer in zip(calls, layers, strict=True) if sum(layer is o for o in layers) == 1}
    found = []
    for node, layer in once.items():
        between: list[fx.Node] = []
        last = node
        while len(last.users) == 1 and _target(model, user := next(iter(last.users))) in _POSITIVELY_HOMOGENEOUS:
            between.append(user)
            last = user
        user = next(iter(last.users))
        if len(last.users) == 1 and user in once and _fit(layer, once[user]):
            found.append(_Pair(layer, once[user], tuple(between)))
    return found


def _target(model: GraphModule, node: fx.Node) -> object:
    if node.op == "call_module":
        return kind_of(model.get_submodule(str(node.target)))
    return node.target if node.op in ("call_function", "call_method") else None


def _fit(first: nn.Module, second: nn.Module) -> bool:
    """Whether both are plain convolutions, or both plain linear layers, that can be scaled channel by channel."""
    kind = kind_of(first)
    plain = all(type(one) is Mask for layer in (first, second) for one in _constraints(layer))
    return kind in ("Conv2d", "Linear") and kind == kind_of(second) and plain


def _constraints(layer: nn.Module) -> list[nn.Module]:
    return [*constraints(layer, "weight"), *constraints(layer, "bias")]


def _equalize(first: nn.Module, second: nn.Module) -> None:
    """Divides the outputs of `first` and multiplies the inputs of `second` by sqrt(r1 * r2) / r2 (equation 11)."""
    groups = getattr(second, "groups", 1)
    own, reads = original(first, "weight"), original(second, "weight")
    range_out = own.abs().reshape(len(own), -1).amax(1)  # [c]
    range_in = _by_input(reads, groups).abs().amax((0, 2))  # [c]
    usable = (range_out > _SMALLEST) & (range_in > _SMALLEST)
    factors = torch.where(usable, (range_out * range_in).sqrt() / range_in.clamp(min=_SMALLEST), 1.0)  # [c]
    own.div_(factors.view(-1, *(1,) * (own.ndim - 1)))
    if first.bias is not None:
        first.bias.div_(factors)  # type: ignore[operator]
    scaled = _by_input(reads, groups) * factors[:, None]
    reads.copy_(_by_weight(scaled, reads, groups))


def _by_input(weight: Tensor, groups: int) -> Tensor:
    """[out, in / groups, ...] -> [out / groups, in, taps]: every input channel with the weights that read it."""
    out, per_group = weight.shape[:2]
    taps = weight.reshape(groups, out // groups, per_group, -1)
    return taps.permute(1, 0, 2, 3).reshape(out // groups, groups * per_group, -1)


def _by_weight(values: Tensor, like: Tensor, groups: int) -> Tensor:
    """The inverse of `_by_input`."""
    out, per_group = like.shape[:2]
    taps = values.reshape(out // groups, groups, per_group, -1)
    return taps.permute(1, 0, 2, 3).reshape(like.shape)


def _drop_clip(model: GraphModule, node: fx.Node) -> None:
    if _target(model, node) not in _CLIPS:
        return
    with model.graph.inserting_after(node):
        relu = model.graph.call_function(F.relu, (node.args[0],))
    node.replace_all_uses_with(relu)
    model.graph.erase_node(node)
