"""Lookahead: a weight matters as much as what it changes in the layers before and after it taken together.

    score(w) = w^2 * (sum of squares of what feeds its input) * (sum of squares of what reads its output)

which is the squared Frobenius distance between the products of three layers with the weight and without it (Park et
al. 2020, arXiv 2002.04809, section 2.2). What feeds and what reads is found in the network's graph
(methods/pruning/energies.py): on a plain chain it is the layer before and the layer after, as published; with
shortcuts, concatenation and groups it is every layer that feeds or reads, shortcut convolutions among them, their
energies added as if they were independent. A neighbour that is missing counts 1, and so does the image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from methods.base import Refused, Task
from methods.graph import modules_called
from methods.pruning.energies import neighbours, role_of, unreadable
from methods.pruning.scoring import Score, Stored, value

_RATE_IMAGES = 1024  # that tell how often a unit is active


class Lookahead(Score):
    """By the weights of the layers alone: lap of the published code."""

    def unsupported(self, model: GraphModule, stored: Stored) -> str | None:
        """The reason why channels cannot be followed from layer to layer, or None."""
        if why := unreadable(model):
            return f"lookahead cannot follow channels here, as {why}: take score=magnitude, obd, snip or taylor"
        return None

    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        return lookahead(model, stored, _squares(model), _image(task))


class LookaheadBN(Lookahead):
    """Each batch norm between two layers multiplies by (gamma / sqrt(var + eps))^2 of its channel: lap_bn."""

    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        return lookahead(model, stored, _squares(model), _image(task), norms=True)


class LookaheadAct(Lookahead):
    """On weights times the root of the rate at which their output is active, the neighbours' too: lap_act.

    The rate is the share of positive outputs of the activation that the layer's output goes through before it is read,
    over images and positions; the published code adds the roots of the rates of a channel's positions instead, which
    differs by little but a factor a layer. Where an output is read through several activations, their rates are
    averaged, weighted by how they are read.
    """

    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        squares, image, rates = _squares(model), _image(task), activation_rates(model, task)
        through: dict[nn.Module, Tensor] = {}
        whole: dict[nn.Module, Tensor] = {}
        for after, given in ((through, rates), (whole, {})):
            for one in neighbours(model, squares, image, rates=given):
                after[one.layer] = after.get(one.layer, 0) + one.after
        scaled = {}
        for layer, square in squares.items():
            rate = torch.where(whole[layer] > 0, through[layer] / whole[layer], 1.0)  # [out]
            scaled[layer] = square * rate.view(-1, *[1] * (square.ndim - 1))
        return lookahead(model, stored, scaled, image)


class LookaheadForward(Lookahead):
    """Layer after layer in the order of the data flow, each when those before it are pruned: lap_forward."""

    order = "forward"


class LookaheadForwardBN(LookaheadBN):
    """lap_forward_bn."""

    order = "forward"


class LookaheadBackward(Lookahead):
    """Layer after layer from the network's end, each when those after it are pruned."""

    order = "backward"


def lookahead(
    model: GraphModule, stored: Stored, squares: Mapping[nn.Module, Tensor], image: Tensor, *, norms: bool = False
) -> list[Tensor]:
    """w^2 times what stands before and after w, summed over the calls of its layer; zeros where it is never called."""
    scores = {layer: torch.zeros_like(square) for layer, square in squares.items()}
    for one in neighbours(model, squares, image, norms=norms):
        square, groups = squares[one.layer], getattr(one.layer, "groups", 1)
        outputs, inputs, *taps = square.shape
        before = one.before.view(groups, 1, inputs).expand(groups, outputs // groups, inputs)
        factor = before.reshape(outputs, inputs) * one.after[:, None]
        scores[one.layer] += square * factor.view(outputs, inputs, *[1] * len(taps))
    return [scores[layer] if layer in scores else torch.zeros_like(value(layer, name)) for _, layer, name in stored]


def activation_rates(model: GraphModule, task: Task) -> dict[str, Tensor]:
    """Share of positive outputs of each channel (unit) of each activation, by name of node, [1, c, 1, ...]."""
    watch = _Rates(model)
    with torch.no_grad():
        for images in task.calibration(_RATE_IMAGES):
            watch.run(images)
    return {name: total / watch.images for name, total in watch.totals.items()}


class _Rates(fx.Interpreter):
    """Counts positive outputs of activations."""

    def __init__(self, model: GraphModule) -> None:
        super().__init__(model)
        self._model = model
        self.totals: dict[str, Tensor] = {}
        self.images = 0

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.op == "placeholder":
            self.images += len(result)
        if role_of(self._model, n) == "activation":
            positive = (result > 0).float().sum(0, keepdim=True)  # [1, c, ...]
            positions = tuple(range(2, result.ndim))
            rate = positive.mean(positions, keepdim=True) if positions else positive
            self.totals[n.name] = self.totals.get(n.name, 0) + rate
        return result


def _squares(model: GraphModule) -> dict[nn.Module, Tensor]:
    """Squared weights of every conv and linear layer, as it computes with them."""
    layers = [layer for layer in modules_called(model).values() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]
    return {layer: value(layer, "weight").square() for layer in layers}


def _image(task: Task) -> Tensor:
    """One image [1, c, h, w], for its shape."""
    for images in task.calibration(1):
        return images[:1]
    raise Refused("lookahead needs an image to know the shapes between layers, and there are no training images")
