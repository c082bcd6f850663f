"""What a method may see of the job and ask of the harness: data, training, other networks; never the test set."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.fx import GraphModule


class Refused(ValueError):
    """A method cannot compress this network; the message is the reason that the table shows."""


_AS_IT_IS: Mapping[str, float] = MappingProxyType({})


def _nothing(_done: float) -> None:
    """The schedule of what has none."""


@dataclass(frozen=True)
class CompressionStep:
    """One step of a method that goes on in steps, for the report. Accuracies are of the validation part, in [0, 1]."""

    step: int  # from 1
    steps: int
    sparsity: float  # share of what it acts on that is zero, or gone, after the step
    accuracy_before: float  # after the step, before it is fine-tuned; not a number where it prunes while it trains
    accuracy_after: float


class Objective(ABC):
    """What a training minimises in place of the cross entropy.

    beside: what is trained along with the network and left behind afterwards, such as the regressors of hints.
    """

    beside: nn.Module | None = None

    @abstractmethod
    def __call__(self, model: GraphModule, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The logits [n, classes] of `model` for `images` [n, c, h, w], and the loss, a mean over the batch.

        Called in train mode under the recipe's autocast, once a step.
        """


class Finetune(Protocol):
    """The harness's training loop, bound to the data, the recipe's budget, the seed and the device."""

    def __call__(
        self,
        model: GraphModule,
        *,
        lr_scale: float = 1.0,
        full: bool = False,
        decay: Mapping[str, float] = _AS_IT_IS,
        at_step: Callable[[float], None] = _nothing,
        penalty: Callable[[float], Tensor] | None = None,
        start: float = 0.0,
        objective: Objective | None = None,
        subset: float = 1.0,
        augment: bool = True,
        epochs: int | None = None,
        adam: float | None = None,
    ) -> GraphModule:
        """Trains `model` in place for the recipe's fine-tuning epochs and returns it, in eval mode.

        lr_scale: factor on the recipe's learning rate.
        full: trains as the dense network was trained, for as many epochs and at its rate; the record counts them.
        decay: factors on the recipe's weight decay, by name of parameter.
        at_step: called before each step with the share of the steps that are done, 0 at first, the model in train mode.
        What it does must follow from that share and the model's state alone: training may be cut off and go on in
        another process.
        penalty: added to each step's loss, the mean cross entropy of the batch; called with the same share.
        start: share of the training left out at its beginning, in whole epochs; the rates are those of the rest.
        objective: minimised in place of the mean cross entropy, which is logged all the same.
        subset: share of the training images that is used, of each class the same share, always the same images.
        augment: false leaves out the recipe's augmentation.
        epochs: in place of the recipe's number of them, at its rates all the same.
        adam: peak learning rate of Adam, which then takes the place of the recipe's SGD and of its rate; the rate rises
        and falls in the same shape.
        """
        ...


class Examples(Protocol):
    """Training images as the network sees them, without augmentation, in a fixed order, and their classes."""

    def __call__(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields batches [n, c, h, w] and labels [n] on the task's device, at most `count` images in all."""
        ...


class Share(Protocol):
    """Intermediate networks that several rows have in common, such as the first steps of an iterative method."""

    def __call__(self, key: str, make: Callable[[], GraphModule]) -> GraphModule:
        """What `make` returned under `key` on this very network, in this run or an earlier one, or `make()`.

        key: all that the result depends on besides the network that came in, the recipe and the seed. `make` may train
        and log: its epochs and steps count for each row that takes its result.
        """
        ...


class Calibration(Protocol):
    """Training images as the network sees them, without augmentation, in a fixed order."""

    def __call__(self, count: int) -> Iterator[Tensor]:
        """Yields normalised batches [n, c, h, w] on the task's device, at most `count` images in all."""
        ...


def _no_examples(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    raise Refused("there are no labelled images here: choose a setting that needs none")


def _no_validation(_model: GraphModule) -> float:
    return math.nan


def _no_log(_step: CompressionStep) -> None:
    """The log of a task that keeps none."""


def _made_anew(key: str, make: Callable[[], GraphModule]) -> GraphModule:
    return make()


def _no_network(name: str) -> GraphModule:
    raise Refused(f"no network {name} can be made here: leave the setting that names it out")


def _no_chain(text: str, offset: int = 0) -> GraphModule:
    raise Refused(f"{text} cannot be made here: leave the setting that names it out")


def _no_file(text: str) -> int:
    raise Refused(f"the file of {text} cannot be made here: leave the setting that names it out")


def _no_size(_model: GraphModule) -> int:
    raise Refused("files are not written here: choose a setting that does not ask for their size")


def _no_past(_share: float) -> GraphModule:
    raise Refused("how the dense network was trained is not known here: leave rewinding out")


@dataclass(frozen=True)
class Task:
    """What a method may see of the job: never the test set.

    validate: share of the validation images that a network classifies right; not a number where there are none.
    log: takes the steps of methods that go on in steps.
    dense_at: the dense network as it was after a share of its training, in whole epochs; 0 is before training.
    build: a network by its `NetName`, untrained, for the images and classes at hand.
    network: a trained network: "dense" is the one that the chain began with, the path of an artifact the one in it, a
    `NetName` one trained for the purpose under its recipe. Not to be changed.
    compressed: what a chain makes of the dense network of this seed plus an offset; its epochs count as the caller's.
    Not to be changed.
    file_bytes: bytes of the file that a chain gives.
    stored_bytes: bytes of the file that a network would give.
    """

    finetune: Finetune
    calibration: Calibration
    seed: int = 0
    device: str = "cpu"
    examples: Examples = _no_examples
    validate: Callable[[GraphModule], float] = _no_validation
    log: Callable[[CompressionStep], None] = _no_log
    share: Share = _made_anew
    dense_at: Callable[[float], GraphModule] = _no_past
    build: Callable[[str], GraphModule] = _no_network
    network: Callable[[str], GraphModule] = _no_network
    compressed: Callable[[str, int], GraphModule] = _no_chain
    file_bytes: Callable[[str], int] = _no_file
    stored_bytes: Callable[[GraphModule], int] = _no_size

    def generator(self) -> torch.Generator:
        """A fresh CPU generator seeded with `seed`: the only source of randomness a method may use."""
        return torch.Generator().manual_seed(self.seed)
