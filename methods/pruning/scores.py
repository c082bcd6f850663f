"""How much each stored entry matters: the scores by which pruning ranks. `SCORES` is the table of them.

A score is relative: entries are kept from the highest down, and what a score means is its own affair. It sees the
tensors that the layers compute with, so entries that are held at zero already score as zeros; whoever ranks knows of
them apart from their score.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule

from methods.base import Task
from methods.pruning.score import Score, Stored, value
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


SCORES: dict[str, Score] = {"magnitude": Magnitude(), "random": Random(), "variational": Variational()}
TRAINING = tuple(name for name, score in SCORES.items() if score.trains)
