"""Magnitude pruning: the smallest weights of the whole network become zero and stay zero.

Idea     |w| ranks a weight's importance; one threshold serves all layers.
Source   Han et al. 2015, arXiv 1506.02626, section 3; global ranking as in Blalock et al. 2020, arXiv 2003.03033.
Stored   the positions and the values of the weights that are kept.
Cost     one selection over all weights, then fine-tuning with the zeros held.
Fails    at extreme sparsity a whole layer can go: accuracy falls to chance.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Task
from methods.layers import Mask, constrain, constraints, weights
from methods.selection import smallest


@dataclass(frozen=True)
class MagnitudePruning(CompressionMethod):
    """Sets the fraction `sparsity` of all stored weights (coefficients, in spectral layers) to zero.

    sparsity: fraction of the entries of the chosen layers that is zero afterwards, in [0, 1); what an earlier stage
        pruned counts and stays pruned.
    layers: prune convolutions, linear layers or both; the threshold is shared by those chosen.
    """

    sparsity: float = 0.9
    layers: Literal["all", "conv", "linear"] = "all"

    effect = Effect.ZEROS_WEIGHTS

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise ValueError(
                f"sparsity must be in [0, 1), got {self.sparsity}: pass the fraction of weights to set to zero"
            )
        if self.layers not in ("all", "conv", "linear"):
            raise ValueError(f"layers must be all, conv or linear, got {self.layers!r}")

    def unsupported(self, model: GraphModule) -> str | None:
        """The reason why `model` cannot be pruned, or None."""
        stored = list(weights(model, self.layers))
        if not stored:
            return f"it has no {'conv or linear' if self.layers == 'all' else self.layers} layer"
        for path, layer, name in stored:
            if others := [c for c in constraints(layer, name) if not isinstance(c, Mask)]:
                return f"{path}.{name} is held by a {type(others[0]).__name__} already"
        return None

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = copy.deepcopy(model)
        stored = [(layer, name) for _, layer, name in weights(model, self.layers)]
        for (layer, name), keep in zip(stored, kept(stored, self.sparsity), strict=True):
            hold(layer, name, keep)
        return task.finetune(model)


def kept(stored: list[tuple[nn.Module, str]], sparsity: float) -> list[Tensor]:
    """For each stored tensor which entries are kept, bool of its shape: round(sparsity * all) are dropped in all.

    Entries that a mask holds already are dropped first, then those of the smallest magnitude; among equals the first.
    """
    with torch.no_grad():
        ranks = torch.cat([_ranks(layer, name).flatten() for layer, name in stored])  # [all entries]
        dropped = smallest(ranks, round(sparsity * ranks.numel())) | (ranks < 0)
    shapes = [getattr(layer, name).shape for layer, name in stored]
    parts = dropped.logical_not().split([shape.numel() for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _ranks(layer: nn.Module, name: str) -> Tensor:
    """Magnitudes, and -1 where a mask already holds the entry: those are dropped before any other."""
    ranks = getattr(layer, name).detach().abs().float()
    for constraint in constraints(layer, name):
        if isinstance(constraint, Mask):
            ranks = ranks.masked_fill(~constraint.keep, -1.0)
    return ranks


def hold(layer: nn.Module, name: str, keep: Tensor) -> None:
    """Masks tensor `name` of `layer`; a mask that is there is narrowed, so that there is one at most."""
    for constraint in constraints(layer, name):
        if isinstance(constraint, Mask):
            constraint.keep &= keep
            return
    constrain(layer, name, Mask.of(keep))
