"""Structured pruning: whole channels go, and the layers that are left are smaller dense ones.

Idea     a channel and all that makes and reads it go together; a search over how many of each group go hits a target
         of channels, parameters or multiply-accumulates.
Source   Fang et al. 2023 (DepGraph, arXiv 2301.12900): groups by data flow, and the scores of a group's layers summed
         over each channel and divided by their mean over the group, so that groups can be ranked together.
Stored   the network with smaller layers; nothing of what went.
Cost     a few passes of one image; the search runs on counts alone.
Fails    where a network holds sizes or the order of channels in its own code; small layers cannot be cut finely.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Refused, Task
from methods.graph import modules_called, tensors_read
from methods.layers import constrained_tensors, weights
from methods.pruning.dependencies import WEIGHTED, Group, absent, find_groups, sides, without
from methods.pruning.footprint import Footprint
from methods.pruning.rates import normalised
from methods.pruning.scores import SCORES, Stored
from methods.selection import smallest

if TYPE_CHECKING:
    from methods.pruning.prune import Prune

DEFAULT_SPARSITY = 0.5
_WITHIN = 0.02  # of the whole: how near to a `sparsity` that was asked for a network has to come, else it is refused
_NEAR_ENOUGH = 0.001  # of the whole: single layers are adjusted until the total is as near
_HALVINGS = 40


class Channels:
    """Cuts channels of a network, and of what it was cut to, by the settings of `Prune`.

    Fractions are those of the network that it is made with.
    """

    def __init__(self, settings: Prune, model: GraphModule, task: Task) -> None:
        """Raises: Refused, where there are no images to follow the channels with."""
        images = next(iter(task.calibration(2)), None)
        if images is None:
            raise Refused("channels are followed on images of the training set, of which there are none here")
        self._settings, self._task, self._images = settings, task, images
        self._whole = self._now(model)

    def _now(self, model: GraphModule) -> float:
        return Footprint(model, [], self._images, self._settings.layers).total(self._settings.of, [])

    def gone(self, model: GraphModule) -> float:
        """The fraction that is gone."""
        return 1 - self._now(model) / self._whole

    def narrow(self, model: GraphModule, sparsity: float) -> GraphModule:
        """A copy of `model` in which, as nearly as steps allow, the fraction `sparsity` is gone; within 2 % of the
        whole where the settings ask for it.

        Raises:
            Refused: no channel can go, the target is out of reach or not to be had so nearly, or the network cannot be
            cut.
        """
        settings = self._settings
        groups = [group for group in find_groups(model, self._images) if _in_scope(model, group, settings.layers)]
        levels = [levels_of(group.channels, group.blocks, settings.round_to) for group in groups]
        if all(len(counts) == 1 for counts in levels):
            raise Refused(f"there is no layer of which channels can go: {settings.round_to} of each are kept at least, "
                          f"and none of the network's input and output go: lower round_to")  # fmt: skip
        footprint = Footprint(model, groups, self._images, settings.layers)

        def total(kept: Sequence[int]) -> float:
            lost = [group.channels - count for group, count in zip(groups, kept, strict=True)]
            return footprint.total(settings.of, lost)

        target = (1 - sparsity) * self._whole
        self._check_reach(total([min(counts) for counts in levels]), target)
        stored = list(weights(model))
        scores = SCORES[settings.score](model, stored, self._task)
        ranks = None if settings.rates == "uniform" else ranked(groups, stored, self._ranking(model, stored, scores))
        kept = counts_for(levels, ranks, total, target, self._whole)
        self._check_nearness(total(kept), sparsity)
        importance = [importance_of(group, stored, scores) for group in groups]
        triples = zip(importance, kept, groups, strict=True)
        return without(model, groups, [best(line, count, group.blocks) for line, count, group in triples], self._images)

    def _ranking(self, model: GraphModule, stored: Stored, scores: list[Tensor]) -> list[Tensor]:
        if self._settings.rates == "global":
            return scores
        if self._settings.rates == "normalized":
            return normalised(scores)
        return SCORES[self._settings.rates](model, stored, self._task)

    def _check_reach(self, least: float, target: float) -> None:
        if self._settings.sparsity is not None and least > target + _WITHIN * self._whole:
            most = math.floor(1000 * (1 - least / self._whole)) / 1000
            raise Refused(f"sparsity={self._settings.sparsity:g} of the {self._settings.of} is out of reach: at most "
                          f"{most:g} can go, as {self._settings.round_to} channels of each layer are kept at least: "
                          "lower sparsity or round_to")  # fmt: skip

    def _check_nearness(self, left: float, sparsity: float) -> None:
        """Raises: Refused, where what is asked for is not met; the steps on the way to it may be as they come."""
        gone = 1 - left / self._whole
        if sparsity == self._settings.sparsity and abs(gone - sparsity) > _WITHIN:
            raise Refused(f"sparsity={sparsity:g} of the {self._settings.of} cannot be met within {100 * _WITHIN:g} % "
                          f"of the whole in steps of {self._settings.round_to} channels: the nearest found is "
                          f"{gone:.3f}: ask for that, or lower round_to")  # fmt: skip


def uncuttable(model: GraphModule, settings: Prune) -> str | None:
    """The reason why channels of `model` cannot be cut, as far as it is known without running it, or None."""
    if reason := absent():
        return reason
    if read := tensors_read(model):
        return f"its graph reads the tensor {read[0]} itself, whose channels cannot be followed"
    called = modules_called(model)
    for path, layer in called.items():
        if isinstance(layer, nn.MultiheadAttention):
            return f"{path} is attention, whose channels cannot be followed"
        for name in constrained_tensors(layer):
            return f"{path}.{name} is held by a constraint already, and whole channels of it cannot go"
    stored = list(weights(model))
    if others := [path for path, layer, _ in stored if not isinstance(layer, WEIGHTED)]:
        return f"{others[0]} has been replaced already by a {type(called[others[0]]).__name__}"
    tensors = [id(tensor) for layer in called.values() for tensor in layer.parameters()]
    if len(set(tensors)) < len(tensors):
        return "layers of it share tensors, which cannot be cut for one of them alone"
    if (double := _reads_input_and_more(model, settings.round_to)) is not None:
        return f"{double} is called twice, once on the network's input, whose channels stay, and once on others"
    names = {settings.score, *({settings.rates} & set(SCORES))}
    return next((why for name in sorted(names) if (why := SCORES[name].unsupported(model, stored))), None)


def _reads_input_and_more(model: GraphModule, round_to: int) -> str | None:
    """A layer that is called on channels of the network's input and again, of which some could go, or None."""
    calls = Counter(str(node.target) for node in model.graph.nodes if node.op == "call_module")
    reached = [node for node in model.graph.nodes if node.op == "placeholder"]
    for node in reached:  # grows meanwhile
        layer = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, WEIGHTED):
            reached += [user for user in node.users if user not in reached]
        elif calls[str(node.target)] > 1 and sides(layer)[1] > round_to:
            return str(node.target)
    return None


def _in_scope(model: GraphModule, group: Group, layers: str) -> bool:
    """Whether all layers that make the channels are of those chosen."""
    makers = [model.get_submodule(part.path) for part in group.slices if part.axis == "outputs"]
    kinds = {"linear" if isinstance(one, nn.Linear) else "conv" for one in makers if isinstance(one, WEIGHTED)}
    return layers == "all" or kinds == {layers}


def levels_of(channels: int, blocks: int, round_to: int) -> list[int]:
    """The numbers of channels that may be left, falling: all, or multiples of `round_to`, and `round_to` at least.

    blocks: the numbers are multiples of it too; where the two have no multiple in common below `channels`, of it alone.
    """
    step = math.lcm(round_to, blocks)
    if step >= channels:
        step = blocks
    return [channels, *(count for count in range(channels - 1, 0, -1) if count % step == 0 and count >= round_to)]


def importance_of(group: Group, stored: Stored, scores: Sequence[Tensor]) -> Tensor:
    """Scores of the weights that make or read each channel, summed; float64 [channels], on the CPU."""
    total = torch.zeros(group.channels, dtype=torch.float64)
    found = {path: (layer, score) for (path, layer, _), score in zip(stored, scores, strict=True)}
    for part in group.slices:
        if part.path not in found:
            continue  # a norm
        layer, score = found[part.path]
        score = score.double().flatten(2).sum(2) if score.ndim > 2 else score.double()  # [out, in / groups]
        if part.axis == "outputs":
            lines = score.sum(1)  # [out]
        else:
            lines = score.unflatten(0, (getattr(layer, "groups", 1), -1)).sum(1).flatten()  # [in]
        total += lines.cpu()[part.index].sum(1)
    return total


def ranked(groups: Sequence[Group], stored: Stored, scores: Sequence[Tensor]) -> list[Tensor]:
    """Importance in shares of the group's mean, so that neither a layer's scale nor its size counts."""
    found = [importance_of(group, stored, scores) for group in groups]
    return [line / line.mean().abs().clamp(min=torch.finfo(line.dtype).tiny) for line in found]


def counts_for(
    levels: Sequence[list[int]],
    ranks: Sequence[Tensor] | None,
    total: Callable[[Sequence[int]], float],
    target: float,
    whole: float,
) -> list[int]:
    """How many channels of each group are left, so that their `total` is as near to `target` as it is found.

    One threshold on `ranks`, or one share of each group where there are none, is halved to the target and rounded to
    `levels`; then single groups, or pairs where that is not near enough, go one level up or down as long as that brings
    the total nearer.
    """
    every = torch.cat(list(ranks)).sort().values if ranks is not None else torch.empty(0)

    def at(share: float) -> list[int]:
        if ranks is None:
            wished = [(1 - share) * counts[0] for counts in levels]
        else:
            threshold = every[min(len(every) - 1, round(share * len(every)))]
            wished = [float((line >= threshold).sum()) for line in ranks]
        return [min(counts, key=lambda count: abs(count - wish)) for counts, wish in zip(levels, wished, strict=True)]

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if total(at(middle)) > target else (low, middle)
    kept = min(at(low), at(high), key=lambda counts: abs(total(counts) - target))

    def off(counts: Sequence[int]) -> float:
        return abs(total(counts) - target)

    while off(kept) > _NEAR_ENOUGH * whole:
        nearest = min(_neighbours(kept, levels), key=off)
        if off(nearest) >= off(kept) and off(kept) > _WITHIN * whole:  # two at a time, as one goes up and one down
            nearest = min((far for near in _neighbours(kept, levels) for far in _neighbours(near, levels)), key=off)
        if off(nearest) >= off(kept):
            break
        kept = nearest
    return kept


def _neighbours(kept: list[int], levels: Sequence[list[int]]) -> list[list[int]]:
    """Choices that differ by one level of one group."""
    found = []
    for index, counts in enumerate(levels):
        place = counts.index(kept[index])
        for other in counts[max(0, place - 1) : place] + counts[place + 1 : place + 2]:
            found.append([*kept[:index], other, *kept[index + 1 :]])
    return found


def best(importance: Tensor, count: int, blocks: int) -> Tensor:
    """Marks the `count` most important channels, as many in each of `blocks` runs; bool [channels]."""
    runs = importance.view(blocks, -1)
    return torch.cat([~smallest(run, len(run) - count // blocks) for run in runs])
