"""Where the quantisers go: every value that an int8 kernel reads or writes, each once.

An integer runtime runs a layer in int8 when its inputs and its output are all on a grid (arXiv 1712.05877, section
2.4), so on the graph:
  a layer with quantised weights reads and writes the grid, its output after the batch norm that will fold into it and
  after the ReLU that alone reads it;
  sums, concatenations and mean pooling write the grid when all that they read is on it;
  what only picks or moves values (max pooling, flatten, ...) stays on the grid of its input;
  the network's output stays float32: its errors are not averaged out by anything that follows.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx import GraphModule

from methods.folding import folds
from methods.layers import BasisTransform, kind_of
from methods.layers.activations import ActivationQuantizer, DynamicQuantizer
from methods.layers.base import LayerScope

_MOVES_VALUES = {
    "MaxPool2d", "AdaptiveMaxPool2d", "Flatten", "Unflatten", "Identity", "Dropout", "Dropout2d", "PixelShuffle",
    "ZeroPad2d", torch.flatten, torch.reshape, torch.transpose, torch.permute, torch.unsqueeze, torch.squeeze,
    torch.chunk, torch.split, F.max_pool2d, F.adaptive_max_pool2d, F.dropout, F.dropout2d, F.pixel_shuffle,
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "contiguous", "squeeze", "unsqueeze", "chunk",
    "split", "unbind",
}  # fmt: skip
_SPLITS = {torch.chunk, torch.split, "chunk", "split", "unbind"}
_RECTIFIES = {"ReLU", "ReLU6", F.relu, F.relu6, torch.relu, "relu", "relu_"}
_SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_JOINS = {torch.cat, torch.concat}
_AVERAGES = {
    "AvgPool2d", "AdaptiveAvgPool2d", F.avg_pool2d, F.adaptive_avg_pool2d, torch.mean, "mean",
}  # fmt: skip
_MULTIPLIES: dict[str | None, str] = {"Conv1d": "conv", "Conv2d": "conv", "Linear": "linear"}


def place_quantizers(model: GraphModule, layers: LayerScope = "all") -> GraphModule:
    """Inserts calibrating `ActivationQuantizer`s, in place; `layers` says which layers' weights are quantised."""
    nodes = list(model.graph.nodes)
    on_grid: dict[fx.Node, None] = {}  # an ordered set: values that get a quantiser
    for node in nodes:
        if _multiplies(model, node, layers):
            on_grid[source(model, node.args[0])] = None
            _add_unless_output(model, _after_relu(model, node), on_grid)
    for node in nodes:
        inputs = _inputs_of_follower(model, node)
        if inputs and all(source(model, value) in on_grid for value in inputs):
            _add_unless_output(model, _after_relu(model, node), on_grid)
    for node in on_grid:
        _insert(model, node, ActivationQuantizer())
    model.graph.lint()
    model.recompile()
    return model


def place_dynamic_quantizers(model: GraphModule, layers: LayerScope = "all") -> GraphModule:
    """Inserts `DynamicQuantizer`s in place, one for each value that layers with quantised weights read; what else reads
    the value reads it as it is."""
    readers: dict[fx.Node, list[fx.Node]] = {}
    for node in model.graph.nodes:
        if _multiplies(model, node, layers):
            readers.setdefault(node.args[0], []).append(node)
    for value, nodes in readers.items():
        _insert(model, value, DynamicQuantizer(), nodes)
    model.graph.lint()
    model.recompile()
    return model


def activation_quantizers(model: nn.Module) -> list[ActivationQuantizer]:
    """The quantisers placed in `model`, in order of placement."""
    return [module for module in model.modules() if isinstance(module, ActivationQuantizer)]


def _target(model: GraphModule, node: fx.Node) -> object:
    """What `node` calls, as the tables here name it."""
    return kind_of(model.get_submodule(str(node.target))) if node.op == "call_module" else node.target


def _multiplies(model: GraphModule, node: fx.Node, layers: LayerScope) -> bool:
    if node.op != "call_module":
        return False
    layer = model.get_submodule(str(node.target))
    family = layer.domain if isinstance(layer, BasisTransform) else _MULTIPLIES.get(kind_of(layer))
    return family is not None and layers in ("all", family)


def _inputs_of_follower(model: GraphModule, node: fx.Node) -> list[fx.Node]:
    """The values that a sum, concatenation or mean pooling reads; empty for any other node."""
    if node.op in ("placeholder", "get_attr", "output"):
        return []
    target = _target(model, node)
    if target in _SUMS and len(node.all_input_nodes) == len(node.args) == 2:
        return node.all_input_nodes
    if target in _JOINS:
        return node.all_input_nodes
    return node.all_input_nodes[:1] if target in _AVERAGES else []


def _moves_values(model: GraphModule, node: fx.Node) -> bool:
    if node.op in ("placeholder", "get_attr", "output"):
        return False
    target = _target(model, node)
    if target is operator.getitem:
        return isinstance(node.args[0], fx.Node) and _target(model, node.args[0]) in _SPLITS
    if target is F.pad:
        return len(node.args) == 2 and not node.kwargs  # pads with 0.0, which is on every grid
    return target in _MOVES_VALUES


def source(model: GraphModule, node: fx.Node) -> fx.Node:
    """The node that computed the values of `node`: layers that only pick or move values are looked through."""
    while _moves_values(model, node):
        node = node.all_input_nodes[0]
    return node


def _after_relu(model: GraphModule, node: fx.Node) -> fx.Node:
    """The ReLU that alone reads `node`, a batch norm that folds into it in between, or what there is of these."""
    users = list(node.users)
    if len(users) == 1 and folds(model, users[0]):
        return _after_relu(model, users[0])
    if len(users) == 1 and users[0].op != "output" and _target(model, users[0]) in _RECTIFIES:
        return users[0]
    return node


def _add_unless_output(model: GraphModule, node: fx.Node, on_grid: dict[fx.Node, None]) -> None:
    if not _is_output(model, node):
        on_grid[node] = None


def _is_output(model: GraphModule, node: fx.Node) -> bool:
    return any(user.op == "output" or (_moves_values(model, user) and _is_output(model, user)) for user in node.users)


def _insert(model: GraphModule, node: fx.Node, layer: nn.Module, readers: Iterable[fx.Node] | None = None) -> None:
    """Puts `layer` after `node`; the `readers`, or all that read `node`, read it instead."""
    path = f"{node.name}_quantizer"
    while path in dict(model.named_modules()):
        path += "_"
    model.add_submodule(path, layer)
    users = list(node.users) if readers is None else list(readers)
    with model.graph.inserting_after(node):
        quantizer = model.graph.call_module(path, (node,))
    for user in users:
        user.replace_input_with(node, quantizer)
