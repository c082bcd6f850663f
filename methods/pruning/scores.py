"""How much each stored entry matters: the scores by which pruning ranks. `SCORES` is the table of them.

A score is relative: entries are kept from the highest down, and what a score means is its own affair. It sees the
tensors that the layers compute with, so entries that are held at zero already score as zeros; whoever ranks knows of
them apart from their score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Task

Stored = list[tuple[str, nn.Module, str]]  # path of the layer, the layer, name of its tensor


class Score(ABC):
    """Ranks stored entries."""

    def unsupported(self, model: GraphModule, stored: Stored) -> str | None:
        """The reason why the entries of `stored` cannot be scored in `model`, or None."""
        return None

    @abstractmethod
    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        """A score of each entry, float32 in the shape of its tensor; the highest are kept.

        model: in eval mode, not to be changed but by scores that say they train it.
        """


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


def value(layer: nn.Module, name: str) -> Tensor:
    """The tensor that the layer computes with, float32, without gradient."""
    with torch.no_grad():
        return getattr(layer, name).detach().float()


SCORES: dict[str, Score] = {"magnitude": Magnitude(), "random": Random()}
