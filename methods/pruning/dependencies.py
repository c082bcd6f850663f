"""Which slices of which layers belong to a channel, and networks without some of their channels.

A channel is made by output rows of some layers and read by input columns of others; shortcuts tie the channels of
several layers together, a flattened one is many columns. torch-pruning follows the network's data flow and finds
these groups (Fang et al. 2023, DepGraph, arXiv 2301.12900, section 3.1); the slicing is done here, all layers at once,
so that what remains is an exact part of what was there, in grouped convolutions too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Refused
from methods.graph import modules_called

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)  # these make and read channels
PER_CHANNEL = (nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)  # these hold a value or more for each
_WHY = "as it counts or mixes them in its own code or in a way that torch-pruning does not follow"
_AGREES = 1e-3  # of the largest logit: what another order of the same sums makes in float32


@dataclass(frozen=True)
class Slice:
    """What of one layer belongs to each channel of a group. index: int64 [channels, entries of each along the axis]."""

    path: str
    axis: Literal["outputs", "inputs"]
    index: Tensor


@dataclass(frozen=True)
class Group:
    """Channels of which each can go, with all its slices. blocks: as many go of each of so many runs of channels in a
    row, as grouped convolutions need it."""

    channels: int
    blocks: int
    slices: tuple[Slice, ...]


def absent() -> str | None:
    """The reason why groups cannot be found here, or None."""
    try:
        import torch_pruning  # noqa: F401
    except ImportError:
        return "the package torch-pruning is not installed: pip install -r requirements.txt"
    return None


def find_groups(model: GraphModule, images: Tensor) -> list[Group]:
    """The groups of `model` that can be cut, in the order of the data flow; images: [n, c, h, w], to follow it.

    Channels of the network's input and output are in none, nor are those that other layers than convolutions, linear
    layers, batch norms and PReLUs have tensors for, or that the network splits.

    Raises:
        Refused: the data flow cannot be followed.
    """
    import torch_pruning

    twin = copy.deepcopy(model).eval()
    for tensor in twin.parameters():
        tensor.requires_grad_(True)  # the data flow is read off the graph of gradients
    graph = torch_pruning.DependencyGraph()
    try:
        with torch.enable_grad():
            # an operation after the last layer is what torch-pruning takes for the output
            graph.build_dependency(twin, images, forward_fn=lambda network, given: -network(given), verbose=False)
            found = list(graph.get_all_groups())
    except Exception as error:  # a library reads a network of any kind
        raise Refused(f"torch-pruning cannot follow the network's channels: {error}") from error
    layers = {id(layer): (path, layer) for path, layer in modules_called(twin).items()}
    groups = [_group(graph, items, layers, torch_pruning.ops) for items in found]
    order = list(modules_called(model)).index
    return sorted((one for one in groups if one), key=lambda group: order(group.slices[0].path))


def _group(graph: Any, items: Any, layers: dict[int, tuple[str, nn.Module]], ops: Any) -> Group | None:
    """The group of torch-pruning's `items`, or None if it is not to be cut."""
    channels, blocks = len(items[0].idxs), 1
    slices = []
    for item in items:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter) or item.dep.target.type in (ops.OPTYPE.OUTPUT, ops.OPTYPE.SPLIT):
            return None
        if id(module) not in layers:
            continue  # an operation without tensors of its own
        path, layer = layers[id(module)]
        if not layer.state_dict():
            continue
        index = _index(channels, item.root_idxs, item.idxs)
        if index is None or not isinstance(layer, (*WEIGHTED, *PER_CHANNEL)):
            return None
        outputs = graph.is_out_channel_pruning_fn(item.dep.handler)
        slices.append(Slice(path, "outputs" if outputs else "inputs", index))
        if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups > 1 and not is_depthwise(layer):
            if layer.groups == layer.out_channels or not torch.equal(index.flatten(), torch.arange(channels)):
                return None
            blocks = math.lcm(blocks, layer.groups)
    if channels % blocks:
        return None
    place = {path: index for index, (path, _) in enumerate(layers.values())}
    return Group(channels, blocks, tuple(sorted(slices, key=lambda part: (place[part.path], part.axis))))


def _index(channels: int, roots: Sequence[int], entries: Sequence[int]) -> Tensor | None:
    """Entries by channel, or None if channels do not have equally many."""
    pairs = sorted(zip(roots, entries, strict=True))
    width, rest = divmod(len(pairs), channels)
    if rest or [root for root, _ in pairs] != [root for root in range(channels) for _ in range(width)]:
        return None
    return torch.tensor([entry for _, entry in pairs]).view(channels, width)


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each output is made of the input of the same place alone."""
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return False
    return 1 < layer.groups == layer.in_channels == layer.out_channels


def without(model: GraphModule, groups: Sequence[Group], keeps: Sequence[Tensor], images: Tensor) -> GraphModule:
    """A copy of `model` with the channels of `keeps` (bool [channels] of each group) alone.

    images: [n, c, h, w], on which it is seen that nothing else has changed: the copy has to give what `model` gives
    where no layer reads the channels that go.

    Raises:
        Refused: it does not, as where the network holds sizes in its own code.
    """
    small, deaf = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
    for path, axes in _kept(model, groups, keeps).items():
        _shrink(small.get_submodule(path), axes["outputs"], axes["inputs"])
        _silence(deaf.get_submodule(path), axes["inputs"])
    with torch.no_grad():
        expected = deaf(images)
        try:
            found = small(images)
        except RuntimeError as error:
            raise Refused(
                f"the network does not run with fewer channels, {_WHY}: {str(error).splitlines()[0]}"
            ) from None
    if found.shape != expected.shape or (found - expected).abs().max() > _AGREES * expected.abs().max():
        raise Refused(f"the network computes something else with fewer channels, {_WHY}")
    return small


def _kept(model: GraphModule, groups: Sequence[Group], keeps: Sequence[Tensor]) -> dict[str, dict[str, Tensor]]:
    """Masks [outputs] and [inputs] of the layers in `groups`, by path and axis."""
    masks: dict[str, dict[str, Tensor]] = {}
    for group, keep in zip(groups, keeps, strict=True):
        for part in group.slices:
            if part.path not in masks:
                outputs, inputs = sides(model.get_submodule(part.path))
                masks[part.path] = {"outputs": torch.ones(outputs, dtype=torch.bool),
                                    "inputs": torch.ones(inputs, dtype=torch.bool)}  # fmt: skip
            masks[part.path][part.axis][part.index[~keep].flatten()] = False
    return masks


def sides(layer: nn.Module) -> tuple[int, int]:
    """Output and input channels; of layers that hold values per channel, their number and 0."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return layer.out_channels, layer.in_channels
    return (layer.weight.numel() if isinstance(layer, nn.PReLU) else layer.num_features), 0  # type: ignore[return-value]


def _shrink(layer: nn.Module, outputs: Tensor, inputs: Tensor) -> None:
    """Keeps of `layer` what the masks say; its constructor's arguments follow."""
    kept = int(outputs.sum())
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        weight = layer.weight.detach()  # [out, in / groups, ...]
        if is_depthwise(layer):
            layer.groups = layer.in_channels = kept
            weight = weight[outputs]
        else:
            layer.in_channels = int(inputs.sum())
            parts = zip(*(whole.chunk(layer.groups) for whole in (weight, outputs, inputs)), strict=True)
            weight = torch.cat([part[rows][:, columns] for part, rows, columns in parts])
        layer.out_channels = kept
        _put(layer, {"weight": weight})
        _keep(layer, ("bias",), outputs)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = kept, int(inputs.sum())
        _put(layer, {"weight": layer.weight.detach()[outputs][:, inputs]})
        _keep(layer, ("bias",), outputs)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = kept
        _keep(layer, ("weight",), outputs)
    else:
        layer.num_features = kept  # type: ignore[assignment]
        _keep(layer, ("weight", "bias", "running_mean", "running_var"), outputs)


def _keep(layer: nn.Module, names: Sequence[str], outputs: Tensor) -> None:
    """Keeps entries along the first axis of those of the tensors that there are."""
    tensors = {name: getattr(layer, name) for name in names}
    _put(layer, {name: tensor.detach()[outputs] for name, tensor in tensors.items() if tensor is not None})


def _put(layer: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Sets parameters and buffers to new tensors, which may have another size."""
    for name, tensor in tensors.items():
        old = getattr(layer, name)
        new = tensor.clone()
        setattr(layer, name, nn.Parameter(new, requires_grad=old.requires_grad) if name in layer._parameters else new)


def _silence(layer: nn.Module, inputs: Tensor) -> None:
    """Zeros the weights by which `layer` reads the channels that go; one per channel has none to read."""
    if isinstance(layer, WEIGHTED) and not is_depthwise(layer):
        groups = layer.groups if isinstance(layer, nn.Conv1d | nn.Conv2d) else 1
        for part, columns in zip(layer.weight.detach().chunk(groups), inputs.chunk(groups), strict=True):
            part[:, ~columns] = 0
