"""Which of its ways of computing each spectral layer takes, in words for the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import nn

from methods.layers import SpectralConv2d, SpectralLinear
from methods.layers.watching import watching

_WithRoutes = SpectralLinear | SpectralConv2d


def routes_taken(module: nn.Module, image: tuple[int, ...], batches: Iterable[int], device: torch.device) -> str:
    """ "16 factored, 2 materialised" for blank batches of images [c, h, w]; "" where no layer has a choice.

    Batch sizes that differ are told apart: "batch 1: 2 factored; batch 32: 2 fast".
    """
    found = {batch: _counted(module, (batch, *image), device) for batch in sorted(set(batches))}
    if not any(found.values()):
        return ""
    words = {batch: ", ".join(f"{count} {route}" for route, count in counts.items()) for batch, counts in found.items()}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"batch {batch}: {word}" for batch, word in words.items())


def _counted(module: nn.Module, shape: tuple[int, ...], device: torch.device) -> Counter[str]:
    counts: Counter[str] = Counter()
    layers: list[_WithRoutes] = [layer for layer in module.modules() if isinstance(layer, _WithRoutes)]
    if layers:
        with watching(layers, lambda layer, x: counts.update([layer.path(tuple(x.shape))])), torch.no_grad():
            module(torch.zeros(shape, device=device))
    return counts
