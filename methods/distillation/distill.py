"""Distillation: a small network of its own learns from the labels and from a larger, trained one.

Idea     the teacher's probabilities, softened by a temperature, tell more of an image than its label:
         loss = alpha T^2 KL(teacher || student) + (1 - alpha) CE, both means over the batch.
Source   Hinton, Vinyals and Dean 2015, arXiv 1503.02531; the other losses: methods/distillation/objectives.py.
Stored   the student, a network like any other; nothing of the teacher.
Cost     as many epochs as the dense network was trained for, with a forward pass of the teacher in each step.
Fails    a student too small for the teacher's finer distinctions gains little; on few images the labels of easy data
         say all there is to say. `loss=none` is the control: the same student without a teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, NetName, Refused, Task, TeacherName, Wrapper
from methods.distillation.objectives import incomparable, objective
from methods.distillation.taught import Taught
from methods.distillation.teaching import Loss, Teaching


@dataclass(frozen=True)
class Distill(CompressionMethod):
    """A student network, trained by a teacher.

    student: the network that is trained, as `--net` writes it, or a scan of the family `student`.
    teacher, loss, alpha, temperature, beta: see `Teaching`.
    subset: share of the training images that is used, of each class the same, in (0, 1].
    augment: whether the recipe's augmentation is used.
    dropout: probability of all dropout layers of the student; None leaves them as they are.
    """

    student: NetName = NetName("student1")
    teacher: TeacherName = TeacherName("dense")
    loss: Loss = "kd"
    alpha: float = 0.9
    temperature: float = 4.0
    beta: float | None = None
    subset: float = 1.0
    augment: bool = True
    dropout: float | None = None
    effect: ClassVar[Effect] = Effect.MAKES_NETWORK
    wrapper: ClassVar[type[Wrapper] | None] = Taught
    variants: ClassVar[tuple[str, ...]] = tuple(f"student='student:widths={one}'" for one in ("8-16", "16-32-64"))

    def __post_init__(self) -> None:
        assert self.teaching  # which checks itself
        if not 0 < self.subset <= 1:
            raise ValueError(f"subset must be a share in (0, 1], got {self.subset}: 1 takes all training images")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}: pass a probability such as 0.5")

    @property
    def teaching(self) -> Teaching:
        return Teaching(self.teacher, self.loss, self.alpha, self.temperature, self.beta)

    def epochs(self, finetune_epochs: int, dense_epochs: int) -> int:
        return dense_epochs

    def controls(self) -> Mapping[str, CompressionMethod]:
        """The same student without a teacher."""
        if self.loss == "none":
            return {}
        came_before = TeacherName("input") if self.teacher == "input" else TeacherName("dense")
        return {"untaught": Distill(self.student, came_before, "none", subset=self.subset, augment=self.augment,
                                    dropout=self.dropout)}  # fmt: skip

    def unsupported(self, model: GraphModule) -> str | None:
        return self.teaching.unsupported()

    def unsuited(self, build: Callable[[str], nn.Module], images: Tensor) -> str | None:
        if self.dropout is not None and not _dropouts(build(self.student)):
            return _no_dropout(self.student, self.dropout)
        if self.teacher == "input" or self.teacher.endswith(".nnc"):  # known when it is there
            return None
        return incomparable(self.teaching, lambda: (build(self.teacher), build(self.student)), images)

    def cannot_follow(self, earlier: CompressionMethod) -> str | None:
        if self.teacher == "input":
            return None
        why = CompressionMethod.cannot_follow(self, earlier)
        return f"{why} (with teacher=input it learns from it)" if why else None

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        student = task.build(self.student)
        if self.dropout is not None:
            _set_dropout(student, self.dropout, self.student)
        aim = None
        if self.loss != "none":
            aim = objective(self.teaching, self.teaching.master(model, task), student, task)
        return task.finetune(student, full=True, objective=aim, subset=self.subset, augment=self.augment)


def _set_dropout(student: nn.Module, probability: float, name: str) -> None:
    layers = _dropouts(student)
    if not layers:
        raise Refused(_no_dropout(name, probability))
    for layer in layers:
        layer.p = probability


def _dropouts(student: nn.Module) -> list[nn.Dropout]:
    return [layer for layer in student.modules() if isinstance(layer, nn.Dropout)]


def _no_dropout(name: str, probability: float) -> str:
    return f"{name} has no dropout layers, so dropout={probability} would change nothing: leave it out"
