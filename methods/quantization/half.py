"""Half precision: weights and biases stored in 16 bits.

Idea: bfloat16 has float32's range and 8 bits of precision, float16 11 bits and a range of 6e-8 to 65504; trained
networks mostly need neither more (Micikevicius et al. 2018, arXiv 1710.03740; Kalamkar et al. 2019, arXiv 1905.12322).
Stored form: the tensors of layers that multiply as 16-bit floats, batch norms folded first.
Cost: none. A runtime with 16-bit kernels computes in 16 bits, the others read the weights back as float32: the kernels
of a row say which.
Known failures: float16 overflows where weights are beyond 65504; few processors multiply in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
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
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = fold_batch_norms(copied(model))
        tensors = list(_tensors(model, self.layers))
        largest = max(getattr(layer, name).detach().abs().max().item() for layer, name in tensors)
        limit = torch.finfo(HALVES[self.dtype]).max
        if largest > limit:
            raise Refused(f"half: {largest:g}, batch norms folded, is beyond {limit:g}, the largest {self.dtype}")
        for layer, name in tensors:
            constrain(layer, name, Halve(self.dtype))
        return model.eval()


def _tensors(model: GraphModule, layers: LayerScope) -> Iterator[tuple[nn.Module, str]]:
    """The weights and biases of the layers that multiply."""
    for _, layer, name in weights(model, layers):
        yield layer, name
        if isinstance(getattr(layer, "bias", None), nn.Parameter) and not constraints(layer, "bias"):
            yield layer, "bias"
