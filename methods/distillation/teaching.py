"""What is asked of a teacher: the settings that `distill` and every other method that trains have in common."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch.fx import GraphModule

from methods.base import Task, TeacherName

Loss = Literal["kd", "dkd", "dist", "at", "fitnet", "rkd", "none"]
OF_LOGITS = ("kd", "dkd", "dist")
USUAL_BETA = {"kd": 1.0, "dkd": 1.0, "dist": 2.0, "at": 1000.0, "fitnet": 1.0, "rkd": 1.0, "none": 0.0}
_OF_TORCHDISTILL = ("dist", "at", "rkd")


@dataclass(frozen=True)
class Teaching:
    """A teacher and what it is copied in.

    teacher: `dense`, `input` (the network that the method is given), the path of an artifact, or a network by name.
    loss: what the teacher is copied in; `none` has no teacher.
    alpha: weight of the teacher's logits; the labels have the rest.
    temperature: what logits are divided by before the softmax.
    beta: factor on a loss other than `kd`; None is `USUAL_BETA`.
    """

    teacher: TeacherName
    loss: Loss
    alpha: float
    temperature: float
    beta: float | None

    def __post_init__(self) -> None:
        if self.loss not in get_args(Loss):
            raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}, got {self.loss!r}: kd is Hinton's")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}: pass the teacher's weight, such as 0.9")
        if not 0 < self.temperature < math.inf:
            raise ValueError(
                f"temperature must be above 0 and finite, got {self.temperature}: 4 is usual, 1 changes nothing"
            )
        if self.beta is not None and not 0 <= self.beta < math.inf:
            raise ValueError(
                f"beta must be 0 or more and finite, got {self.beta}: leave it out for the loss's usual one"
            )
        if self.beta is not None and self.loss in ("kd", "none"):
            raise ValueError(f"beta={self.beta} would change nothing with loss={self.loss}: leave it out")

    @property
    def weight(self) -> float:
        return USUAL_BETA[self.loss] if self.beta is None else self.beta

    def unsupported(self) -> str | None:
        """The reason why this machine cannot compute the loss, or None."""
        if self.loss in _OF_TORCHDISTILL and importlib.util.find_spec("torchdistill") is None:
            return (
                f"loss={self.loss} needs the package torchdistill: install requirements.txt, or take kd, dkd or fitnet"
            )
        return None

    def master(self, model: GraphModule, task: Task) -> GraphModule:
        """The teacher, where `model` is what the method was given. Not to be changed."""
        return model if self.teacher == "input" else task.network(self.teacher)
