"""Clustering: the weights of a layer share 2^bits values, which are then trained.

Idea     k-means groups a layer's weights; each keeps the number of its group, and fine-tuning moves the groups' values:
         the gradient of a value is the sum of its members' gradients.
Source   Han et al. 2016, arXiv 1510.00149, section 3; a price on bits: Chou, Lookabaugh, Gray 1989 (kmeans.py).
Stored   uint8 codes of `bits` bits, a table of 16-bit values for each tensor, 16-bit biases.
Cost     seconds for the groups, then fine-tuning at about the speed of the dense network.
Fails    few bits in layers whose channels differ much in range; products stay float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Strength, Task
from methods.layers import LayerScope, original, weights
from methods.layers.codebooks import MOST_VALUES, SharedValues
from methods.quantization.preparation import copied
from methods.sharing.kmeans import Start, clustered
from methods.sharing.preparation import Vectors, check_lr_scale, finished, held_at_zero, store, why_not


@dataclass(frozen=True)
class Cluster(CompressionMethod):
    """Weights that share few trained values.

    bits: a tensor has at most 2^bits values, 1 to 8; what a mask holds at zero is one of them.
    rate: price of a bit of the coded values in variances of the weights; 0 looks at the error alone.
    start: values that k-means begins with: `linear` over the range, or by the `density` of the weights.
    vectors: how biases and what is left of batch norms are stored: `float16`, `shared` values, or `float32`.
    lr_scale: factor on the recipe's fine-tuning learning rate.
    layers: all, conv or linear: whose weights share values.
    """

    bits: int = 4
    rate: float = 0.0
    start: Start = "linear"
    vectors: Vectors = "float16"
    lr_scale: float = 5.0
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION
    strength: ClassVar[Strength | None] = Strength("bits", 8, 1, whole=True)
    variants: ClassVar[tuple[str, ...]] = ("", "vectors=shared:lr_scale=1")

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits must be in 1..8, got {self.bits}: codes are stored as uint8")
        if not 0 <= self.rate < math.inf:
            raise ValueError(f"rate must be at least 0 and finite, got {self.rate}: pass a price such as 0.01")
        check_lr_scale(self.lr_scale)

    def unsupported(self, model: GraphModule) -> str | None:
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = copied(model)
        for _, layer, name in list(weights(model, self.layers)):
            self._share(layer, name)
        model = task.finetune(model, lr_scale=self.lr_scale)
        return finished(model, self.layers, self.vectors)

    @torch.no_grad()
    def _share(self, layer: nn.Module, name: str) -> None:
        """Puts codes and the values that they stand for in the place of a tensor."""
        tensor, zeros = getattr(layer, name).detach(), held_at_zero(layer, name)
        count = 2**self.bits if zeros is not None else min(2**self.bits, MOST_VALUES)
        clusters = clustered(tensor.cpu(), count, start=self.start, rate=self.rate, zero=zeros is not None)
        number = (~clusters.fixed).long().cumsum(0) * ~clusters.fixed  # 0 of the value that stays 0.0, 1.. of others
        codes = number[clusters.places(tensor.cpu())].to(torch.uint8).to(tensor.device)
        if zeros is not None:
            codes.masked_fill_(zeros, 0)
        values = clusters.centroids[~clusters.fixed].float().to(tensor.device)
        reader = SharedValues(values, codes).requires_grad_(original(layer, name).requires_grad)  # frozen stays frozen
        store(layer, name, codes, reader)
