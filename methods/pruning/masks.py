"""Pruning by masks: which entries are held at zero, and holding more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Refused, Task
from methods.layers import Mask, constrain, constraints, original, weights
from methods.pruning.presets import lookahead_rates
from methods.pruning.rates import compound_budgets, global_budgets, normalised, uniform_budgets, within_budget
from methods.pruning.scores import SCORES, Stored
from methods.pruning.scoring import along

if TYPE_CHECKING:
    from methods.pruning.prune import Prune


def out_of_reach(model: GraphModule, settings: Prune, stored: Stored) -> str | None:
    """Why masks cannot bring `model` to the sparsity that is asked for, or None."""
    sizes, target = sizes_of(stored), settings.target
    if round(target * sum(sizes)) == sum(sizes):
        return f"a sparsity of {target:.12g} leaves none of its {sum(sizes):,} weights: take a lower one"
    if settings.preset == "lookahead":
        try:
            compound_budgets(sizes, lookahead_rates(model, stored), target, zeros_of(stored))
        except ValueError as error:
            return str(error)
    return None


def narrow(model: GraphModule, settings: Prune, sparsity: float, task: Task) -> None:
    """Masks the entries of `model` that go, so that the share `sparsity` of all is zero, old zeros included."""
    stored = list(weights(model, settings.layers))
    pattern, score = settings.units(), SCORES[settings.score]
    scores = score(model, stored, task)
    keeps = [kept(layer, name) for _, layer, name in stored]
    sizes = sizes_of(stored)
    # a pattern with a share of its own sets rates itself
    held = [] if pattern.least else zeros_of(stored)
    if settings.sparsity is None and score.threshold is not None:
        low = [(one < score.threshold) | ~keep for one, keep in zip(scores, keeps, strict=True)]
        sparsity = max(sparsity, sum(int(one.sum()) for one in low) / sum(sizes))
    if settings.preset == "lookahead":
        budgets = compound_budgets(sizes, lookahead_rates(model, stored), sparsity, held)
    elif settings.rates == "uniform":
        budgets = uniform_budgets(sizes, sparsity, held)
    else:
        ranked = scores
        if settings.rates == "normalized":
            ranked = normalised(scores)
        elif settings.rates != "global":
            ranked = SCORES[settings.rates](model, stored, task)
        units = [pattern.units(one, keep) for one, keep in zip(ranked, keeps, strict=True)]
        budgets = global_budgets(units, sparsity, sizes)
    for index in along(model, stored, score.order):
        _, layer, name = stored[index]
        if score.order != "at once":
            scores = score(model, stored, task)  # anew, as the layers before this one are pruned by now
        hold(layer, name, within_budget(pattern, scores[index], keeps[index], budgets[index]))


def rewind(model: GraphModule, past: GraphModule) -> None:
    """Gives trained tensors and statistics the values of `past`, under the masks that are there.

    Raises:
        Refused: the networks differ in more than masks.
    """
    values = past.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if ".parametrizations." in name and not name.endswith(".original"):
                continue
            plain = name.replace("parametrizations.", "").removesuffix(".original")
            if plain not in values or values[plain].shape != tensor.shape:
                raise Refused(f"rewind=weights goes back to the dense network, which has no {plain} of this shape")
            tensor.copy_(values[plain])


def kept(layer: nn.Module, name: str) -> Tensor:
    """Which entries no mask holds at zero, bool of the tensor's shape."""
    keep = torch.ones_like(original(layer, name), dtype=torch.bool)
    for constraint in constraints(layer, name):
        if isinstance(constraint, Mask):
            keep = keep & constraint.keep
    return keep


def hold(layer: nn.Module, name: str, keep: Tensor) -> None:
    """Masks tensor `name` of `layer`; a mask that is there is narrowed, so that there is one at most."""
    for constraint in constraints(layer, name):
        if isinstance(constraint, Mask):
            constraint.keep &= keep
            return
    constrain(layer, name, Mask.of(keep))


def zero_share(stored: Stored) -> float:
    """Share of the entries that masks hold at zero."""
    return sum(zeros_of(stored)) / sum(sizes_of(stored))


def zeros_of(stored: Stored) -> list[int]:
    """Entries of each tensor that masks hold at zero."""
    return [int((~kept(layer, name)).sum()) for _, layer, name in stored]


def sizes_of(stored: Stored) -> list[int]:
    """Entries of each tensor."""
    return [original(layer, name).numel() for _, layer, name in stored]
