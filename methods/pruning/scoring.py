"""What a score is: how much each stored entry matters.

A score is relative: entries are kept from the highest down, and what a score means is its own affair. It sees the
tensors that the layers compute with, so entries that are held at zero already score as zeros; whoever ranks knows of
them apart from their score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Task
from methods.graph import modules_called

Stored = list[tuple[str, nn.Module, str]]  # path of the layer, the layer, name of its tensor
Order = Literal["at once", "forward", "backward"]


class Score(ABC):
    """Ranks stored entries.

    order: whether all tensors are scored at once, or one after the other in the order of the network's data flow or
    against it, each when those before it have been pruned.
    trains: whether it trains the network, for as long as the dense one was, and leaves it so.
    threshold: score below which entries go where no sparsity is asked for.
    """

    order: ClassVar[Order] = "at once"
    trains: ClassVar[bool] = False
    threshold: ClassVar[float | None] = None

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


def along(model: GraphModule, stored: Stored, order: Order = "forward") -> list[int]:
    """Indices into `stored` in an order of pruning; those whose layer is never called come first."""
    if order == "at once":
        return list(range(len(stored)))
    called = {id(layer): index for index, layer in reversed(list(enumerate(modules_called(model).values())))}
    forward = sorted(range(len(stored)), key=lambda index: called.get(id(stored[index][1]), -1))
    return forward[::-1] if order == "backward" else forward
