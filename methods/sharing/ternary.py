"""Ternary weights: each is -b, 0 or a, with scales of its layer.

Idea     in every forward pass weights are rounded to three values; what is trained are the float32 weights behind them.
Source   Li et al. 2016, arXiv 1605.04711 (threshold and scale); Zhu et al. 2017, arXiv 1612.01064 (trained scales).
Stored   codes of 2 bits, fewer under an entropy coder, two 16-bit scales for each tensor, 16-bit biases.
Cost     fine-tuning at about the speed of the dense network.
Fails    short training; small layers. Products stay float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn
from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Task
from methods.layers import LayerScope, original
from methods.layers.signed import TernaryWeights
from methods.quantization.preparation import check_bits_fields, copied
from methods.sharing.preparation import Vectors, check_lr_scale, finished, hold_to_few, why_not

_BITS = 2


@dataclass(frozen=True)
class Ternary(CompressionMethod):
    """Weights of three values.

    scales: `fixed` is the mean magnitude of the weights that are not zero; `trained` are two parameters.
    threshold: in mean magnitudes, up to which weights are zero.
    first_last_bits: at least so many for the first and last layer; 0: three values as for all.
    vectors: how biases and what is left of batch norms are stored: `float16`, `shared` values, or `float32`.
    lr_scale: factor on the recipe's fine-tuning learning rate.
    layers: all, conv or linear: whose weights have three values.
    """

    scales: Literal["fixed", "trained"] = "fixed"
    threshold: float = 0.7
    first_last_bits: int = 8
    vectors: Vectors = "float16"
    lr_scale: float = 1.0
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION

    def __post_init__(self) -> None:
        check_bits_fields(_BITS, self.first_last_bits)
        check_lr_scale(self.lr_scale)
        if not 0 <= self.threshold < math.inf:
            raise ValueError(f"threshold must be at least 0 and finite, got {self.threshold}: 0.7 is the paper's")

    def unsupported(self, model: GraphModule) -> str | None:
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = copied(model)
        hold_to_few(model, self.layers, _BITS, self.first_last_bits, self._ternary)
        return finished(task.finetune(model, lr_scale=self.lr_scale), self.layers, self.vectors)

    def _ternary(self, layer: nn.Module, name: str) -> TernaryWeights:
        made = TernaryWeights.of(getattr(layer, name), self.threshold, trained=self.scales == "trained")
        return made.requires_grad_(original(layer, name).requires_grad)  # what is frozen stays so
