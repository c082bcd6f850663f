"""The shipped form of a network: what is left once nothing is trained any more."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from methods.folding import fold_batch_norms
from methods.graph import modules_called, replace_module
from methods.layers import ChannelAffine, Constraint, constrain, constrained_tensors, constraints, original, release

_IDLE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity)


def ship(model: GraphModule) -> GraphModule:
    """A copy in shipped form, in eval mode, with the outputs of `model` in eval mode to rounding.

    Batch norms are folded or become a `ChannelAffine`, dropout is gone, masks are in the weights, and quantised
    weights are codes with the constraint that reads them. Shipping twice is shipping once.

    Raises:
        ValueError: what constraints ship of a tensor does not read back as that tensor.
    """
    shipped = copy.deepcopy(model).eval()
    _drop_idle(shipped)
    fold_batch_norms(shipped)
    for path, layer in modules_called(shipped).items():
        for name in list(constrained_tensors(layer)):
            _bake(path, layer, name)
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_mean is not None:
            replace_module(shipped, path, ChannelAffine.of(layer))
    shipped.recompile()
    return shipped.eval()


def _drop_idle(model: GraphModule) -> None:
    """Takes layers that do nothing in eval mode out of the graph."""
    for node in list(model.graph.nodes):
        if node.op == "call_module" and isinstance(model.get_submodule(node.target), _IDLE):
            source = node.args[0] if node.args else node.kwargs["input"]
            if isinstance(source, fx.Node):
                node.replace_all_uses_with(source)
                model.graph.erase_node(node)
    model.delete_all_unused_submodules()


@torch.no_grad()
def _bake(path: str, layer: nn.Module, name: str) -> None:
    """Puts the shipped form of tensor `name` in its place, under the constraints that read it."""
    expected = getattr(layer, name)
    stored: Tensor = original(layer, name).detach()
    trained = original(layer, name).requires_grad
    readers: list[Constraint] = []
    for constraint in constraints(layer, name):
        stored, reader = constraint.shipped(stored)
        if reader is not None:
            readers.insert(0, reader)  # what was done last is undone first
    release(layer, name)
    setattr(layer, name, nn.Parameter(stored, requires_grad=trained and stored.is_floating_point()))
    for reader in readers:
        constrain(layer, name, reader)
    read = getattr(layer, name)
    if read.dtype != expected.dtype or not torch.allclose(read, expected, rtol=1e-5, atol=1e-8, equal_nan=True):
        raise ValueError(f"{path}.{name} does not read back as it was: its constraints {readers} disagree on its form")
