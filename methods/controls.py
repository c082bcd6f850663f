"""Controls: what any compression has to beat, as methods of their own.

Idea     the dense network trained for as long (`longer`), a dense network made small by hand (`small`), and the dense
         file packed by a general compressor (`xz`) cost no invention.
Source   Blalock et al. 2020 (ShrinkBench), arXiv 2003.03033, section 6, asks for such comparisons; small dense networks
         as Liu et al. 2019, arXiv 1810.05270, trained from new values.
Stored   `longer`: what is stored anyway; `small`: fewer channels; `xz`: plain float32 in one LZMA stream.
Cost     training; for `small` also a search over widths.
Fails    `small`: where torch-pruning cannot follow the channels, and where files larger than the dense one are matched.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.fx import GraphModule

from methods.base import ChainTexts, CompressionMethod, Effect, Refused, Task, Writing
from methods.graph import modules_called
from methods.pruning.channels import counts_for, levels_of, uncuttable
from methods.pruning.dependencies import Group, find_groups, without
from methods.pruning.footprint import Footprint
from methods.pruning.prune import Prune
from methods.quoting import split

_TRIES = 6  # of widths whose file is written to see its size
_NEAR_ENOUGH = 0.005  # of the target: no further try
_WITHIN = 0.03  # of the target: how far a network at either end of the widths may be from it
_SETTINGS = Prune(pattern="channels", rates="uniform", round_to=1)  # how channels go: the same share of each layer


@dataclass(frozen=True)
class Longer(CompressionMethod):
    """The dense network, trained on: what the extra epochs of other rows do by themselves.

    extra: how many epochs, in one fine-tuning at the recipe's fine-tuning rate, warm-up and decay over all of
        them. Not set: the recipe's number.
    """

    extra: int | None = None
    effect: ClassVar[Effect] = Effect.MAKES_NETWORK
    variants: ClassVar[tuple[str, ...]] = ()  # nothing is smaller

    def __post_init__(self) -> None:
        if self.extra is not None and self.extra < 0:
            raise ValueError(f"extra must be 0 or more, got {self.extra}: pass a number of epochs")

    def epochs(self, finetune_epochs: int, dense_epochs: int) -> int:
        return finetune_epochs if self.extra is None else self.extra

    def cannot_follow(self, earlier: CompressionMethod) -> str | None:
        return "it trains the dense network on, which comes first"

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        return task.finetune(copy.deepcopy(model), epochs=self.extra)


@dataclass(frozen=True)
class Xz(CompressionMethod):
    """Writes plain tensors and packs the file by LZMA, as `xz` would: what a general compressor does."""

    effect: ClassVar[Effect] = Effect.WRITES_FILE
    variants: ClassVar[tuple[str, ...]] = ()  # our own coder is the better one
    trains: ClassVar[bool] = False
    writing: ClassVar[Writing] = "xz"

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        return copy.deepcopy(model).eval()


@dataclass(frozen=True)
class Small(CompressionMethod):
    """A narrower dense network of as many bytes as another row's file, with new values, trained as the dense one was.

    like: the chain whose file is matched, as `--methods` writes it.
    bytes: the file's bytes, in place of `like`; 0 takes those of `like`.
    """

    like: ChainTexts = ChainTexts("half")
    bytes: int = 0
    effect: ClassVar[Effect] = Effect.MAKES_NETWORK
    variants: ClassVar[tuple[str, ...]] = ()  # it needs the size of another row

    def __post_init__(self) -> None:
        if self.bytes < 0:
            raise ValueError(f"bytes must be 0 or more, got {self.bytes}: pass the size of a file")
        if (count := len(split(self.like, ","))) != 1:
            raise ValueError(f"like must be one chain, got {count}: write small:like='a'/'b' for a row each")

    def epochs(self, finetune_epochs: int, dense_epochs: int) -> int:
        return dense_epochs

    def unsupported(self, model: GraphModule) -> str | None:
        return uncuttable(model, _SETTINGS)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        images = next(iter(task.calibration(2)), None)
        if images is None:
            raise Refused("channels are followed on images of the training set, of which there are none here")
        target = self.bytes or task.file_bytes(self.like)
        small = narrowed(model, target, images, task)
        return task.finetune(small, full=True)


def narrowed(model: GraphModule, target: int, images: Tensor, task: Task) -> GraphModule:
    """The network of new values whose file, once trained, should take `target` bytes: widths are tried until it does,
    or nearly. Training changes how well values pack, by as much as it did for `model`.

    Raises:
        Refused: no width gives such a file.
    """
    whole = task.stored_bytes(model)
    if whole <= (1 + _WITHIN) * target:
        if target > (1 + _WITHIN) * whole:
            raise Refused(f"the file to match has {target} bytes, that of the dense network {whole}: none narrower is "
                          "as large")  # fmt: skip
        return renewed(model, task)
    packs = whole / task.stored_bytes(renewed(model, task))
    groups = find_groups(model, images)
    if not groups:
        raise Refused("there is no layer of which channels can go")
    widths = _Widths(model, groups, images)
    wanted, tried = widths.parameters * target / whole, {}
    for _ in range(_TRIES):
        kept = widths.nearest(wanted)
        if kept in tried:
            break
        tried[kept] = packs * task.stored_bytes(renewed(widths.cut(kept), task))
        if abs(tried[kept] - target) <= _NEAR_ENOUGH * target:
            break
        wanted *= target / tried[kept]
    best = min(tried, key=lambda kept: abs(math.log(tried[kept] / target)))
    if best == widths.least and tried[best] > (1 + _WITHIN) * target:
        raise Refused(
            f"the file to match has {target} bytes, that of a network of one channel a layer {tried[best]:.0f}"
        )
    return renewed(widths.cut(best), task)


class _Widths:
    """The networks that `model` can be cut to by whole channels, the same share of each layer as nearly as can be."""

    def __init__(self, model: GraphModule, groups: Sequence[Group], images: Tensor) -> None:
        self._model, self._groups, self._images = model, groups, images
        self._levels = [levels_of(group.channels, group.blocks, 1) for group in groups]
        self._footprint = Footprint(model, groups, images, "all")
        self.parameters = self._footprint.total("parameters", [0] * len(groups))
        self.least = tuple(min(counts) for counts in self._levels)

    def _total(self, kept: Sequence[int]) -> float:
        lost = [group.channels - count for group, count in zip(self._groups, kept, strict=True)]
        return self._footprint.total("parameters", lost)

    def nearest(self, parameters: float) -> tuple[int, ...]:
        """Channels of each group that make about so many parameters."""
        return tuple(counts_for(self._levels, None, self._total, parameters, parameters))

    def cut(self, kept: Sequence[int]) -> GraphModule:
        """A copy with so many channels of each group, the first of each block."""
        keeps = [_first(group, count) for group, count in zip(self._groups, kept, strict=True)]
        return without(self._model, self._groups, keeps, self._images)


def _first(group: Group, count: int) -> Tensor:
    """Marks the first channels of each of the group's blocks; bool [channels]."""
    width = group.channels // group.blocks
    return torch.arange(group.channels) % width < count // group.blocks


def renewed(model: GraphModule, task: Task) -> GraphModule:
    """A copy with the values that its layers begin with, drawn by the task's seed.

    Raises:
        Refused: a layer has no rule for them.
    """
    model = copy.deepcopy(model).eval()
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        for path, layer in modules_called(model).items():
            if not layer.state_dict():
                continue
            begin = getattr(layer, "reset_parameters", None)
            if begin is None:
                raise Refused(f"{path} is a {type(layer).__name__}, which does not say what values it begins with")
            begin()
    return model
