"""What one step of training computes, and what changes from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from baselines.precision import autocast_for
from baselines.recipes import Recipe
from methods.base import Objective

_START_DIVISOR = 25  # the warm-up begins at peak / 25


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The rate of `step` (from 0) of `steps`: a line up to `peak` in `warmup * steps`, then half a cosine towards 0."""
    rising = warmup * steps
    if step < rising:
        start = peak / _START_DIVISOR
        return start + (peak - start) * step / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def rates_of(epoch: int, epochs: int, steps: int, peak: float, warmup: float) -> list[float]:
    """The rates of the steps of `epoch`, from 1."""
    first = (epoch - 1) * steps
    return [learning_rate(first + step, epochs * steps, peak, warmup) for step in range(steps)]


@dataclass(frozen=True)
class Schedule:
    """What changes from step to step of one epoch."""

    rates: list[float]  # of its steps
    epochs_done: int
    epochs: int
    at_step: Callable[[float], None]

    def begin(self, step: int, optimizer: torch.optim.Optimizer) -> float:
        """Makes ready for `step` of the epoch, from 0; the share of all steps that are done."""
        for group in optimizer.param_groups:
            group["lr"] = self.rates[step]
        done = (self.epochs_done + step / len(self.rates)) / self.epochs
        self.at_step(done)
        return done


class Step(nn.Module):
    """What a step computes, as one pass of one module: gradients can then be averaged while they are found."""

    def __init__(
        self,
        model: nn.Module,
        beside: nn.Module,
        objective: Objective | None,
        recipe: Recipe,
        device: str,
        penalty: Callable[[float], Tensor] | None,
    ) -> None:
        super().__init__()
        assert objective is None or isinstance(model, GraphModule), "objectives are for traced networks"
        self.model, self.beside = model, beside
        self.objective, self.recipe, self.device, self.penalty = objective, recipe, device, penalty

    def forward(self, images: Tensor, labels: Tensor, done: float, weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """What is minimised, the cross entropy and the logits [n, classes]; both are numbers, means over the batch.

        images: [n, c, h, w]. labels: [n]. done: share of all steps that are done. weight: of the images' loss.
        """
        with autocast_for(self.recipe.precision, self.device):
            if self.objective is None:
                logits, aim = self.model(images), None
            else:
                logits, aim = self.objective(self.model, images, labels)  # type: ignore[arg-type]
        entropy = F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        loss = entropy if aim is None else aim
        loss = loss if weight == 1 else weight * loss
        loss = loss if self.penalty is None else loss + self.penalty(done)
        return loss, entropy.detach(), logits.detach()
