"""What a network costs as its channels go: channels, parameters and multiply-accumulates, without making it first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from methods.graph import modules_called
from methods.layers import LayerScope
from methods.pruning.dependencies import WEIGHTED, Group, sides

Measure = Literal["macs", "parameters", "channels"]


class Footprint:
    """Totals of the chosen layers of a network as functions of how many channels each group has lost.

    Convolutions and linear layers count, with `layers="all"` the parameters of every other layer too. A layer's
    channels are its outputs. Multiply-accumulates are those of one image; biases, norms and activations have none.
    """

    def __init__(self, model: GraphModule, groups: Sequence[Group], images: Tensor, layers: LayerScope) -> None:
        """images: [n, c, h, w], to see in how many places each weight is used."""
        called = modules_called(model)
        places = _Places(model)
        with torch.no_grad():
            places.run(images[:1])
        rows = [_row(layer, places.found.get(path, 0), layers) for path, layer in called.items()]
        self._outputs, self._inputs, self._taps, self._extra, self._places, self._counted = (
            torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)
        )  # [layers] each
        self._lost_outputs = torch.zeros(len(called), len(groups), dtype=torch.float64)
        self._lost_inputs = torch.zeros_like(self._lost_outputs)  # of each group of a convolution
        order = {path: index for index, path in enumerate(called)}
        for column, group in enumerate(groups):
            for part in group.slices:
                row, width = order[part.path], part.index.shape[1]
                if part.axis == "outputs":
                    self._lost_outputs[row, column] += width
                else:
                    self._lost_inputs[row, column] += width / getattr(called[part.path], "groups", 1)

    def total(self, of: Measure, lost: Sequence[int]) -> float:
        """The total where each group has lost so many channels."""
        gone = torch.tensor(lost, dtype=torch.float64)
        outputs = self._outputs - self._lost_outputs @ gone
        inputs = self._inputs - self._lost_inputs @ gone
        match of:
            case "channels":
                return float((outputs * self._counted).sum())
            case "parameters":
                return float((outputs * (inputs * self._taps + self._extra)).sum())
            case "macs":
                return float((outputs * inputs * self._taps * self._places).sum())


class _Places(fx.Interpreter):
    """Runs a graph on one image and counts the places in which the weights of each layer are used."""

    def __init__(self, model: GraphModule) -> None:
        super().__init__(model)
        self.found: dict[str, int] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = super().call_module(target, args, kwargs)
        layer = self.fetch_attr(target)
        if isinstance(layer, WEIGHTED):
            self.found[target] = self.found.get(target, 0) + out.numel() // sides(layer)[0]
        return out


def _row(layer: nn.Module, places: int, layers: LayerScope) -> tuple[float, ...]:
    """Outputs, inputs of each output, kernel taps, other parameters of each output, places, and 1 if its outputs count
    as channels."""
    if isinstance(layer, WEIGHTED):
        shape = layer.weight.shape  # [out, in / groups, ...]
        if layers not in ("all", "linear" if isinstance(layer, nn.Linear) else "conv"):
            return (shape[0], shape[1], 0, 0, 0, 0)
        return (shape[0], shape[1], math.prod(shape[2:]), layer.bias is not None, places, 1)
    parameters = sum(tensor.numel() for tensor in layer.parameters())
    if layers != "all" or not parameters:
        return (0, 0, 0, 0, 0, 0)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.PReLU):
        outputs = sides(layer)[0]
        return (outputs, 0, 0, parameters / outputs, 0, 0)
    return (1, 0, 0, parameters, 0, 0)
