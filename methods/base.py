"""The contract that every compression method keeps.

Laws (tests/test_method_contract.py puts every method of METHODS through them):
  the model that comes in is left untouched;
  the same seed gives the same result, whatever the global generator holds;
  the result maps the same input shape to the same output shape;
  what is compressed survives the file: written, read, and the same outputs;
  a method stands on its own: `Pipeline((a, b))` is a method like any other.

Models that flow through methods are `torch.fx.GraphModule`s (see methods/graph.py): a network whose data flow is
known, so that batch norms can be folded, quantisers placed and the result written to a file that describes itself.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NewType

from torch import Tensor, nn
from torch.fx import GraphModule

from methods.effects import WHY_NOT_AFTER, Effect
from methods.strength import Strength
from methods.task import (
    Calibration,
    CompressionStep,
    Examples,
    Finetune,
    Objective,
    Refused,
    Share,
    Task,
)

Writing = Literal["smallest", "xz"]  # each tensor in the smallest of our codes, or plain, the file then packed by LZMA

NetName = NewType("NetName", str)  # a network as `--net` writes it
TeacherName = NewType("TeacherName", str)  # a trained one: "dense", "input", the path of an artifact, or a `NetName`
ChainTexts = NewType("ChainTexts", str)  # chains of methods as `--methods` writes them; "dense" is one of none


@dataclass(frozen=True)
class CompressionMethod(ABC):
    """A method is a frozen dataclass whose fields are its hyperparameters.

    Field types are bool, int, float or str: the command line writes them as `name:field=value`. A field with a fixed
    set of values states it as a `typing.Literal`. A field named `layers` (all, conv, linear) takes the command's
    `--layers` where the chain does not set it.
    """

    effect: ClassVar[Effect]
    trains: ClassVar[bool] = True  # whether it fine-tunes, which nearly all its time then goes into
    wrapper: ClassVar[type[Wrapper] | None] = None  # what its settings make of another method that has none such
    writing: ClassVar[Writing] = "smallest"  # how the file of a chain that ends with it is written
    strength: ClassVar[Strength | None] = None  # the field that trades size for accuracy, for `--at` and `--search`
    variants: ClassVar[tuple[str, ...]] = ("",)  # settings that `--search` tries, as they are typed; of none, nothing

    def epochs(self, finetune_epochs: int, dense_epochs: int) -> int:
        """The epochs that it trains for, under a recipe with so many: for the estimate of a run's time."""
        return finetune_epochs if self.trains else 0

    def asks_for(self) -> tuple[tuple[str, int], ...]:
        """The chains, and offsets of the seed, of which it takes the networks: their epochs are counted as its own."""
        return ()

    def controls(self) -> Mapping[str, CompressionMethod]:
        """What it must beat, by role (bench/records.py): itself without that which it claims to gain from."""
        return {}

    @abstractmethod
    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        """Returns a compressed copy of `model`, in eval mode, fine-tuned through `task` if the method needs it."""

    def unsupported(self, model: GraphModule) -> str | None:
        """The reason why `model` cannot be compressed in this way, or None."""
        return None

    def unsuited(self, build: Callable[[str], nn.Module], images: Tensor) -> str | None:
        """The reason why a network that its settings name does not suit it, or None; asked before anything is trained.

        build: makes a network by its `NetName`, or the dense one as `dense`, untrained.
        images: blank ones of the right shape [n, c, h, w].
        """
        return None

    def check(self, model: GraphModule) -> None:
        """Raises `Refused` with the reason of `unsupported`, if there is one."""
        if reason := self.unsupported(model):
            raise Refused(f"{type(self).__name__} cannot run on this network: {reason}")

    def cannot_follow(self, earlier: CompressionMethod) -> str | None:
        """The reason why this method cannot run on what `earlier` returned, or None; known without running either."""
        if isinstance(earlier, Pipeline):
            return next((why for stage in earlier.stages if (why := self.cannot_follow(stage))), None)
        return WHY_NOT_AFTER.get((earlier.effect, self.effect))


@dataclass(frozen=True)
class Wrapper(CompressionMethod, ABC):
    """A method around another one. Its further fields are settings that the command line may give to any method.

    Raises ValueError when it is made around a method that it can do nothing for.
    """

    method: CompressionMethod

    @property
    def effect(self) -> Effect:  # type: ignore[override]
        return self.method.effect

    @property
    def trains(self) -> bool:  # type: ignore[override]
        return self.method.trains

    @property
    def strength(self) -> Strength | None:  # type: ignore[override]
        return self.method.strength

    def epochs(self, finetune_epochs: int, dense_epochs: int) -> int:
        return self.method.epochs(finetune_epochs, dense_epochs)

    def asks_for(self) -> tuple[tuple[str, int], ...]:
        return self.method.asks_for()

    def controls(self) -> Mapping[str, CompressionMethod]:
        return {role: dataclasses.replace(self, method=one) for role, one in self.method.controls().items()}

    def cannot_follow(self, earlier: CompressionMethod) -> str | None:
        return self.method.cannot_follow(earlier)


def standing(stages: Sequence[CompressionMethod]) -> Sequence[CompressionMethod]:
    """The stages whose work is in the result: those from the last one on that put another network in place."""
    makers = [index for index, stage in enumerate(stages) if stage.effect is Effect.MAKES_NETWORK]
    return stages[makers[-1] if makers else 0 :]


@dataclass(frozen=True)
class Pipeline(CompressionMethod):
    """Methods in sequence, each on the result of the one before. Impossible orders are refused when it is made."""

    stages: tuple[CompressionMethod, ...] = ()

    def __post_init__(self) -> None:
        for index, stage in enumerate(self.stages):
            for earlier in standing(self.stages[:index]):
                if why := stage.cannot_follow(earlier):
                    raise ValueError(f"{stage} cannot follow {earlier}: {why}; change their order or leave one out")

    @property
    def effect(self) -> Effect:  # type: ignore[override]
        return max((stage.effect for stage in standing(self.stages)), default=Effect.REPLACES_LAYERS)

    def cannot_follow(self, earlier: CompressionMethod) -> str | None:
        return next((why for stage in self.stages if (why := stage.cannot_follow(earlier))), None)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        for stage in self.stages:
            if reason := stage.unsupported(model):
                raise Refused(f"{stage} cannot follow here: {reason}")
            model = stage.compress(model, task)
        return model


__all__ = [
    "Calibration",
    "ChainTexts",
    "CompressionMethod",
    "CompressionStep",
    "Effect",
    "Examples",
    "Finetune",
    "NetName",
    "Objective",
    "Pipeline",
    "Refused",
    "Share",
    "Strength",
    "Task",
    "TeacherName",
    "Wrapper",
    "Writing",
    "standing",
]  # fmt: skip
