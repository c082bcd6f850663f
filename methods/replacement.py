"""What methods that put smaller layers in place of dense ones have in common: which layers, fitting, fine-tuning."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.utils import parametrize

from methods.base import CompressionMethod, Effect, Refused, Task
from methods.graph import modules_called
from methods.reconstruction import reconstruct


@dataclass(frozen=True)
class LayerReplacement(CompressionMethod, ABC):
    """Puts a smaller layer in place of each convolution or linear layer, fits it to what the dense one computes, and
    fine-tunes the whole.

    keep: fraction of the stored numbers of each layer's weight that is kept, in (0, 1].
    calibration: training images that the new layers are fitted on before fine-tuning; 0 leaves them as projected.
    layers: replace convolutions, linear layers or both.
    """

    keep: float = 0.2
    calibration: int = 256
    layers: Literal["all", "conv", "linear"] = "all"

    effect = Effect.REPLACES_LAYERS

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
    def replaced(self, layer: nn.Module) -> nn.Module:
        """The new layer nearest to `layer` in L2; same inputs, same outputs."""

    @abstractmethod
    def fit(self, new: nn.Module, x: Tensor, y: Tensor) -> None:
        """Changes `new` so that new(x) is nearest to y in L2, up to a ridge about what it was."""

    @abstractmethod
    def put(self, model: GraphModule, path: str, new: nn.Module) -> None:
        """Puts `new` in place of the layer at `path`, in a form that a file can name."""

    def unsupported(self, model: GraphModule) -> str | None:
        """The reason why no layer of `model` can be replaced, or None."""
        paths = self._replaced_paths(model)
        if not paths:
            return f"no layer of kind {self.layers} has channels of which a fraction {self.keep} is fewer"
        held = [path for path in paths if parametrize.is_parametrized(model.get_submodule(path))]
        return f"{held[0]} has constraints on its weight, which the new layer would drop" if held else None

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        if reason := self.unsupported(model):
            raise Refused(f"this network cannot be compressed in this way: {reason}")
        model = copy.deepcopy(model)
        layers = {path: self.replaced(model.get_submodule(path)) for path in self._replaced_paths(model)}
        if self.calibration and self.keep < 1:
            reconstruct(model.eval(), layers, torch.cat(list(task.calibration(self.calibration))), self.fit)
        for path, layer in layers.items():
            self.put(model, path, layer)
        return task.finetune(model)

    def _replaced_paths(self, model: GraphModule) -> list[str]:
        kinds = {"all": (nn.Conv2d, nn.Linear), "conv": (nn.Conv2d,), "linear": (nn.Linear,)}[self.layers]
        layers = modules_called(model).items()
        return [
            path
            for path, layer in layers
            if parametrize.type_before_parametrizations(layer) in kinds and self.shrinks(layer)
        ]


def channels(layer: nn.Module) -> tuple[int, int]:
    """Outputs and inputs of a layer, of one group."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    assert isinstance(layer, nn.Conv2d)
    return layer.out_channels // layer.groups, layer.in_channels // layer.groups
