"""What methods that put smaller layers in place of dense ones have in common: which layers, fitting, fine-tuning."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.utils import parametrize

from methods.base import CompressionMethod, Effect, Strength, Task
from methods.graph import modules_called
from methods.layers import tied
from methods.reconstruction import reconstruct


@dataclass(frozen=True)
class LayerReplacement(CompressionMethod, ABC):
    """Puts a smaller layer in place of each convolution or linear layer, fits it to what the dense one computes, and
    fine-tunes the whole.

    keep: fraction of the stored numbers of each layer's weight that is kept, in (0, 1].
    calibration: training images that the new layers are fitted on before fine-tuning; 0 leaves them as projected.
    layers: replace convolutions, linear layers or both.
    skip: layers to leave alone, a space between: `first`, `last`, or names as in a size ledger, with * and ?.
    """

    keep: float = 0.2
    calibration: int = 256
    layers: Literal["all", "conv", "linear"] = "all"
    skip: str = ""

    effect = Effect.REPLACES_LAYERS
    strength = Strength("keep", 0.9, 0.005, "log")

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must be in (0, 1], got {self.keep}: pass the fraction of coefficients to keep")
        if self.calibration < 0:
            raise ValueError(
                f"calibration must be at least 0, got {self.calibration}: pass the number of images to fit on"
            )
        if self.layers not in ("all", "conv", "linear"):
            raise ValueError(f"layers must be all, conv or linear, got {self.layers!r}")

    @abstractmethod
    def shrinks(self, layer: nn.Module) -> bool:
        """Whether the new layer would be worth having."""

    @abstractmethod
    def new_layers(self, layers: Mapping[str, nn.Module], task: Task) -> dict[str, nn.Module]:
        """For each dense layer, by its path, the one that takes its place; same inputs, same outputs."""

    @abstractmethod
    def fit(self, new: nn.Module, x: Tensor, y: Tensor) -> None:
        """Changes `new` so that new(x) is nearest to y in L2, up to a ridge about what it was."""

    @abstractmethod
    def put(self, model: GraphModule, path: str, new: nn.Module) -> None:
        """Puts `new` in place of the layer at `path`, in a form that a file can name."""

    def trained(self, model: GraphModule, layers: Mapping[str, nn.Module], task: Task) -> GraphModule:
        """`model`, in which the new `layers` lie at their paths, after the training that this method asks for."""
        return task.finetune(model)

    @property
    def fits(self) -> bool:
        """Whether the new layers are fitted before training."""
        return self.calibration > 0 and self.keep < 1

    @property
    def why_none(self) -> str:
        """The reason where no layer can be replaced."""
        return f"no layer of kind {self.layers} has a form of which a fraction {self.keep} is smaller"

    def unsupported(self, model: GraphModule) -> str | None:
        """The reason why no layer of `model` can be replaced, or None."""
        if unknown := self._unknown_skips(model):
            return f"skip names {unknown[0]!r}, and no layer is called so: there are {', '.join(_multiplying(model))}"
        paths = self._replaced_paths(model)
        if not paths:
            return self.why_none
        held = [path for path in paths if parametrize.is_parametrized(model.get_submodule(path))]
        if held:
            return f"{held[0]} has constraints on its weight, which the new layer would drop"
        return tied(model, map(model.get_submodule, paths))

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = copy.deepcopy(model)
        layers = self.new_layers({path: model.get_submodule(path) for path in self._replaced_paths(model)}, task)
        if self.fits:
            reconstruct(model.eval(), layers, torch.cat(list(task.calibration(self.calibration))), self.fit)
        for path, layer in layers.items():
            self.put(model, path, layer)
        return self.trained(model, layers, task)

    def _replaced_paths(self, model: GraphModule) -> list[str]:
        kinds = {"all": (nn.Conv2d, nn.Linear), "conv": (nn.Conv2d,), "linear": (nn.Linear,)}[self.layers]
        layers = _multiplying(model)
        paths = list(layers)
        return [
            path
            for path, layer in layers.items()
            if parametrize.type_before_parametrizations(layer) in kinds
            and not any(_names(word, path, paths) for word in self.skip.split())
            and self.shrinks(layer)
        ]

    def _unknown_skips(self, model: GraphModule) -> list[str]:
        paths = list(_multiplying(model))
        return [word for word in self.skip.split() if not any(_names(word, path, paths) for path in paths)]


def _multiplying(model: GraphModule) -> dict[str, nn.Module]:
    """The convolutions and linear layers of `model`, in the order in which they are called first."""
    return {
        path: layer
        for path, layer in modules_called(model).items()
        if parametrize.type_before_parametrizations(layer) in (nn.Conv2d, nn.Linear)
    }


def _names(word: str, path: str, paths: list[str]) -> bool:
    """Whether a word of `skip` means the layer at `path`, which is one of `paths`."""
    if word in ("first", "last"):
        return path == paths[0 if word == "first" else -1]
    return fnmatchcase(path, word)


def channels(layer: nn.Module) -> tuple[int, int]:
    """Outputs and inputs of a layer, of one group."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    assert isinstance(layer, nn.Conv2d)
    return layer.out_channels // layer.groups, layer.in_channels // layer.groups
