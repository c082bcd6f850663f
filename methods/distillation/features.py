"""What a network computes on its way: its maps and its last features, by name of graph node.

A pass over the graph keeps what is wanted, so that operations which are no layers can be asked for too, and nothing is
hung on the network that would have to be taken off again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule


class _Keeper(fx.Interpreter):
    """Runs a graph and keeps the values of some of its nodes."""

    def __init__(self, model: GraphModule, wanted: Collection[str]) -> None:
        fx.Interpreter.__init__(self, model)
        self.wanted = wanted
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = fx.Interpreter.run_node(self, n)
        if n.name in self.wanted and isinstance(value, Tensor):
            self.kept[n.name] = value
        return value


def run_keeping(model: GraphModule, images: Tensor, wanted: Collection[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits [n, classes] for `images` [n, c, h, w], and the values of the nodes that are named in `wanted`."""
    keeper = _Keeper(model, wanted)
    logits: Tensor = keeper.run(images)
    return logits, keeper.kept


def shapes(model: GraphModule, images: Tensor) -> dict[str, torch.Size]:
    """Shapes of all tensors that nodes compute for `images` [n, c, h, w], by name, in the graph's order."""
    names = [node.name for node in model.graph.nodes if node.op not in ("placeholder", "get_attr", "output")]
    with torch.no_grad(), _resting(model):
        _, kept = run_keeping(model, images, names)
    return {name: kept[name].shape for name in names if name in kept}


@contextlib.contextmanager
def _resting(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; each layer's own mode comes back."""
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def last_maps(found: dict[str, torch.Size]) -> dict[tuple[int, int], str]:
    """The last node of each size (h, w) whose value is a map [n, c, h, w] of more than one place."""
    return {(shape[2], shape[3]): name for name, shape in found.items() if len(shape) == 4 and shape[2] * shape[3] > 1}


def common_maps(student: dict[str, torch.Size], teacher: dict[str, torch.Size]) -> list[tuple[str, str]]:
    """(student's, teacher's) last map of each size that both have, the largest maps first."""
    own, other = last_maps(student), last_maps(teacher)
    return [(own[size], other[size]) for size in sorted(own, reverse=True) if size in other]


def last_features(found: dict[str, torch.Size]) -> str | None:
    """The node whose value the logits are made of: the last with another number of values an image than they have."""
    *_, logits = found.values()
    return next((name for name, shape in reversed(found.items()) if shape[0] == logits[0] and shape[1:].numel()
                 != logits[1:].numel()), None)  # fmt: skip
