"""Any method that trains, with a teacher in its training: `prune:sparsity=0.9:teacher=dense:alpha=0.9`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.fx import GraphModule

from methods.base import CompressionMethod, Objective, Refused, Task, TeacherName, Wrapper
from methods.distillation.objectives import objective
from methods.distillation.teaching import Loss, Teaching


@dataclass(frozen=True)
class Taught(Wrapper):
    """A teacher in the trainings of another method, which knows nothing of it.

    teacher, loss, alpha, temperature, beta: see `Teaching`; `teacher=input` is the network before the method.
    """

    teacher: TeacherName = TeacherName("dense")
    loss: Loss = "kd"
    alpha: float = 0.9
    temperature: float = 4.0
    beta: float | None = None

    def __post_init__(self) -> None:
        assert self.teaching  # which checks itself
        if self.loss == "none":
            raise ValueError("loss=none has no teacher: leave the settings of a teacher out")
        if not self.method.trains:
            raise ValueError("it does not train, so that no teacher can be of use: leave the settings of a teacher out")

    @property
    def teaching(self) -> Teaching:
        return Teaching(self.teacher, self.loss, self.alpha, self.temperature, self.beta)

    def controls(self) -> Mapping[str, CompressionMethod]:
        """Those of the method, taught too, and the method without a teacher."""
        return {**Wrapper.controls(self), "untaught": self.method}

    def unsupported(self, model: GraphModule) -> str | None:
        return self.teaching.unsupported() or self.method.unsupported(model)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        teacher = self.teaching.master(model, task)

        def finetune(model: GraphModule, *, objective: Objective | None = None, **settings: Any) -> GraphModule:
            if objective is not None:
                raise Refused(f"{type(self.method).__name__} has an objective of its own: leave the teacher out")
            return task.finetune(model, objective=self._objective(teacher, model, task), **settings)

        def share(key: str, make: Callable[[], GraphModule]) -> GraphModule:
            return task.share(f"{key} taught {self.teaching}", make)

        return self.method.compress(model, dataclasses.replace(task, finetune=finetune, share=share))

    def _objective(self, teacher: GraphModule, student: GraphModule, task: Task) -> Objective:
        return objective(self.teaching, teacher, student, task)
