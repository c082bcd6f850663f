"""Half precision: weights and biases stored in 16 bits.

Idea: bfloat16 has float32's range and 8 bits of precision, float16 11 bits and a range of 6e-8 to 65504; trained
networks mostly need neither more (Micikevicius et al. 2018, arXiv 1710.03740; Kalamkar et al. 2019, arXiv 1905.12322).
Stored form: the tensors of layers that multiply as 16-bit floats, batch norms folded first.
Cost: none. A runtime with 16-bit kernels computes in 16 bits, the others read the weights back as float32: the kernels
of a row say which.
Known failures: float16 overflows where weights are beyond 65504; few processors multiply in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Refused, Task
from methods.folding import fold_batch_norms
from methods.layers import LayerScope, constrain, constraints, weights
from methods.layers.halves import HALVES, HalfName, Halve
from methods.quantization.preparation import copied, why_not


@dataclass(frozen=True)
class Half(CompressionMethod):
    """Weights and biases of 16 bits.

    dtype: bf16 or fp16.
    layers: all, conv or linear: whose tensors are stored so.
    """

    dtype: HalfName = "bf16"
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION
    trains: ClassVar[bool] = False

    def unsupported(self, model: GraphModule) -> str | None:
        if reason := why_not(model, self.layers):
            return reason
        largest = max((_largest(layer, name) for _, layer, name in weights(model, self.layers)), default=0.0)
        limit = torch.finfo(HALVES[self.dtype]).max
        return f"a weight of {largest:g} is beyond {limit:g}, the largest {self.dtype}" if largest > limit else None

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        if reason := self.unsupported(model):
            raise Refused(f"half cannot run on this network: {reason}")
        model = fold_batch_norms(copied(model))
        for _, layer, name in list(weights(model, self.layers)):
            constrain(layer, name, Halve(self.dtype))
            if isinstance(getattr(layer, "bias", None), nn.Parameter) and not constraints(layer, "bias"):
                constrain(layer, "bias", Halve(self.dtype))
        return model.eval()


def _largest(layer: nn.Module, name: str) -> float:
    """The largest magnitude among the values of a tensor, constraints applied."""
    values: Tensor = getattr(layer, name)
    return values.detach().abs().max().item()
