"""What a score of stored entries is. The scores that there are: scores.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Task

Stored = list[tuple[str, nn.Module, str]]  # path of the layer, the layer, name of its tensor


class Score(ABC):
    """Ranks stored entries."""

    trains: ClassVar[bool] = False  # whether it trains the network, for as long as the dense one was, and leaves it so
    threshold: ClassVar[float | None] = None  # below which entries go where no sparsity is asked for

    def unsupported(self, model: GraphModule, stored: Stored) -> str | None:
        """The reason why the entries of `stored` cannot be scored in `model`, or None."""
        return None

    @abstractmethod
    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        """A score of each entry, float32 in the shape of its tensor; the highest are kept.

        model: in eval mode, not to be changed but by scores that say they train it.
        """


def value(layer: nn.Module, name: str) -> Tensor:
    """The tensor that the layer computes with, float32, without gradient."""
    with torch.no_grad():
        return getattr(layer, name).detach().float()
