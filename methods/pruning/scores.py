"""The scores by which pruning ranks. `SCORES` is the table of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule

from methods.base import Task
from methods.pruning.gradients import OptimalBrainDamage, Snip, Taylor
from methods.pruning.lookahead import (
    Lookahead,
    LookaheadAct,
    LookaheadBackward,
    LookaheadBN,
    LookaheadForward,
    LookaheadForwardBN,
)
from methods.pruning.scoring import Score, Stored, value
from methods.pruning.variational import Variational


class Magnitude(Score):
    """|w| (Han et al. 2015, arXiv 1506.02626, section 3)."""

    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        return [value(layer, name).abs() for _, layer, name in stored]


class Random(Score):
    """Uniform noise of the task's seed: what the other scores have to beat. The same in every step of a schedule."""

    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        generator = task.generator()
        values = [value(layer, name) for _, layer, name in stored]
        return [torch.rand(one.shape, generator=generator).to(one.device) for one in values]


SCORES: dict[str, Score] = {
    "magnitude": Magnitude(),
    "random": Random(),
    "lookahead": Lookahead(),
    "lookahead_bn": LookaheadBN(),
    "lookahead_act": LookaheadAct(),
    "lookahead_forward": LookaheadForward(),
    "lookahead_forward_bn": LookaheadForwardBN(),
    "lookahead_backward": LookaheadBackward(),
    "obd": OptimalBrainDamage(),
    "snip": Snip(),
    "taylor": Taylor(),
    "variational": Variational(),
}
TRAINING = tuple(name for name, score in SCORES.items() if score.trains)

__all__ = ["SCORES", "TRAINING", "Magnitude", "Random", "Score", "Stored", "value"]
