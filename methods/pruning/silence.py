"""Biases that nothing reads: where every weight that reads a unit is zero, its bias costs bytes and says nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.graph import modules_called
from methods.layers import original
from methods.pruning.energies import neighbours, role_of, unreadable


@torch.no_grad()
def silence(model: GraphModule, image: Tensor) -> int:
    """Sets to zero, in place, the biases of conv and linear layers whose outputs no layer reads and which are no output
    of the network; its outputs stay what they are. Networks through which channels cannot be followed stay untouched.

    image: [1, c, h, w], for its shape.

    Returns: how many biases were set to zero.
    """
    if unreadable(model):
        return 0
    called = modules_called(model)
    layers = [
        called[str(node.target)]
        for node in model.graph.nodes
        if node.op == "call_module" and role_of(model, node) == "layer"
    ]
    # what is read at all, whatever its size: squares of small weights would vanish
    squares = {layer: _values(layer).ne(0).float() for layer in layers}
    read: dict[nn.Module, Tensor] = {}
    for one in neighbours(model, squares, image):
        read[one.layer] = read.get(one.layer, torch.zeros_like(one.after)) + one.after
    silenced = 0
    for layer, after in read.items():
        bias = getattr(layer, "bias", None)
        if bias is not None:
            unread = (after == 0) & (bias != 0)
            original(layer, "bias")[unread] = 0
            silenced += int(unread.sum())
    return silenced


def _values(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()
