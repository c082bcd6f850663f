"""What every layer of ours states about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import nn

LayerScope = Literal["all", "conv", "linear"]


class CompressedLayer(nn.Module, ABC):
    """A layer whose state dict is its stored form and whose `config()` makes it again."""

    weights: ClassVar[tuple[str, ...]] = ()  # names of the stored tensors that pruning and quantisation act on; axis 0
    # of each runs over outputs
    scope: ClassVar[Literal["conv", "linear", "none"]] = "none"

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, in JSON types."""

    @abstractmethod
    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of one forward pass on the path this layer takes, for these shapes, batch included."""
