"""Binary weights: each is a sign, and a scale of its output channel.

Idea     in every forward pass weights are rounded to -a or a; what is trained are the float32 weights behind them.
Source   Rastegari et al. 2016, arXiv 1603.05279, section 3.1 (binary-weight networks).
Stored   codes of 1 bit, a 16-bit scale for each output channel, 16-bit biases.
Cost     fine-tuning at about the speed of the dense network.
Fails    short training; small and depthwise layers. Products stay float32. No zeros can be held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Pipeline, Task
from methods.layers import LayerScope, weights
from methods.layers.signed import BinaryWeights
from methods.quantization.preparation import check_bits_fields, copied
from methods.sharing.preparation import Vectors, check_lr_scale, finished, held_at_zero, hold_to_few, why_not

_NO_ZERO = "its weights are a sign and a scale, and neither is zero: write ternary or cluster"


@dataclass(frozen=True)
class Binary(CompressionMethod):
    """Weights of two values an output channel.

    first_last_bits: at least so many for the first and last layer; 0: two values as for all.
    vectors: how biases and what is left of batch norms are stored: `float16`, `shared` values, or `float32`.
    lr_scale: factor on the recipe's fine-tuning learning rate.
    layers: all, conv or linear: whose weights have two values.
    """

    first_last_bits: int = 8
    vectors: Vectors = "float16"
    lr_scale: float = 1.0
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION

    def __post_init__(self) -> None:
        check_bits_fields(2, self.first_last_bits)
        check_lr_scale(self.lr_scale)

    def unsupported(self, model: GraphModule) -> str | None:
        if reason := why_not(model, self.layers):
            return reason
        for path, layer, name in weights(model, self.layers):
            if held_at_zero(layer, name) is not None:
                return f"{path}.{name} holds zeros, and {_NO_ZERO}"
        return None

    def cannot_follow(self, earlier: CompressionMethod) -> str | None:
        if not isinstance(earlier, Pipeline) and earlier.effect is Effect.ZEROS_WEIGHTS:
            return _NO_ZERO
        return CompressionMethod.cannot_follow(self, earlier)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = copied(model)
        hold_to_few(model, self.layers, 1, self.first_last_bits, lambda _layer, _name: BinaryWeights())
        return finished(task.finetune(model, lr_scale=self.lr_scale), self.layers, self.vectors)
