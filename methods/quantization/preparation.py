"""What the methods of this family share: checks of fields, which layers take which bits, grids of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.fx import GraphModule

from methods.base import Task
from methods.folding import fold_batch_norms
from methods.graph import modules_called
from methods.layers import LayerScope, StepQuantizer, WeightQuantizer, constrain, tied, weights
from methods.layers.quantization import is_quantized, rounded, weight_scale
from methods.quantization.expansion import expand

Grid = Literal["following", "fitted", "learned"]
_FEWEST_BITS_OF_BASES = 7  # coarser codes of bases save no bytes; finer ones may saturate where those of weights do not
_TRIES = 12  # steps that the search for a channel's step compares


def check_bits_fields(bits: int, first_last_bits: int) -> None:
    """Raises ValueError for numbers of bits that the methods here refuse."""
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be in 2..8, got {bits}: codes are stored as int8")
    if first_last_bits != 0 and not 2 <= first_last_bits <= 8:
        raise ValueError(f"first_last_bits must be in 2..8, or 0 for those of the other layers, got {first_last_bits}")


def check_calibration(calibration: int) -> None:
    """Raises ValueError for a number of images that shows nothing."""
    if calibration < 1:
        raise ValueError(f"calibration must be at least 1, got {calibration}: pass the number of images to look at")


def why_not(model: GraphModule, layers: LayerScope) -> str | None:
    """The reason why `model` cannot be quantised, or None."""
    if is_quantized(model):
        return "it is quantised already"
    if next(weights(model, layers), None) is None:
        return f"it has no {'convolution or linear' if layers == 'all' else layers} layer to quantise"
    return tied(model, (layer for _, layer, _ in weights(model, layers)))


def copied(model: GraphModule) -> GraphModule:
    """A copy in eval mode."""
    return copy.deepcopy(model).eval()


def prepared(model: GraphModule, layers: LayerScope, bits: int, task: Task, *, fold: bool = True) -> GraphModule:
    """A copy of `model` in eval mode, ready for quantisers: spectral layers expanded, batch norms folded."""
    model = expand(copied(model), task.calibration(1), layers, max(bits, _FEWEST_BITS_OF_BASES))
    return fold_batch_norms(model) if fold else model


def bits_of_layers(model: GraphModule, layers: LayerScope, bits: int, first_last_bits: int) -> dict[str, int]:
    """Bits of each layer's weights, by path, in the order of the layers' first calls: `bits`, and `first_last_bits` if
    that is more for the network's first and last layer with weights."""
    every = [path for path in modules_called(model) if any(True for _ in weights(model.get_submodule(path)))]
    chosen = {path for path, _, _ in weights(model, layers)}
    ends = {every[0], every[-1]} if every else set()
    return {path: max(bits, first_last_bits) if path in ends else bits for path in every if path in chosen}


def put_on_grids(model: GraphModule, bits: Mapping[str, int], grid: Grid) -> GraphModule:
    """Rounds the weights of the layers at the paths of `bits`, in place.

    grid: `following` the weights' largest magnitudes, also in training; `fitted` once, to the least squared error;
    `learned` from there on.
    """
    named = dict(model.named_modules())
    for path, width in bits.items():
        for _, layer, name in list(weights(named[path])):
            if grid == "following":
                constrain(layer, name, WeightQuantizer(width))
            else:
                step = fitted_steps(getattr(layer, name), width)
                constrain(layer, name, StepQuantizer.of(step, width, learned=grid == "learned"))
    return model


def freeze_grids(model: GraphModule) -> GraphModule:
    """Ends the learning of steps of weights, in place."""
    for module in model.modules():
        if isinstance(module, StepQuantizer):
            module.freeze()
    return model


@torch.no_grad()
def fitted_steps(weight: Tensor, bits: int) -> Tensor:
    """The step of each output channel that rounds `weight` [out, ...] with the least squared error, [out].

    Below the step of the largest magnitude, weights beyond the last code saturate and all others are rounded finer,
    which pays at few bits: the narrowest that is tried is 0.37 of the widest at 2 bits and 0.87 of it at 8.
    """
    widest = weight_scale(weight, bits)
    best, found = torch.full_like(widest, torch.inf), widest
    for fraction in torch.linspace(1.0, 0.2 + bits / 12, _TRIES).tolist():
        step = fraction * widest
        error = (rounded(weight, step, bits) - weight).reshape(len(weight), -1).square().sum(1)
        found, best = torch.where(error < best, step, found), torch.minimum(error, best)
    return found
