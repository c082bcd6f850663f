"""Which of its ways of computing each spectral layer takes, in words for the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import nn

from methods.layers import SpectralConv2d, SpectralLinear

_WithRoutes = SpectralLinear | SpectralConv2d


def routes_taken(module: nn.Module, image: tuple[int, ...], batches: Iterable[int], device: torch.device) -> str:
    """ " (16 factored, 2 materialised)" for blank batches of images [c, h, w]; "" where no layer has a choice.

    Batch sizes that differ are told apart: " (batch 1: 2 factored; batch 32: 2 fast)".
    """
    found = {batch: _counted(module, (batch, *image), device) for batch in sorted(set(batches))}
    if not any(found.values()):
        return ""
    words = {batch: ", ".join(f"{count} {route}" for route, count in counts.items()) for batch, counts in found.items()}
    if len(set(words.values())) == 1:
        return f" ({next(iter(words.values()))})"
    return " (" + "; ".join(f"batch {batch}: {word}" for batch, word in words.items()) + ")"


def _counted(module: nn.Module, shape: tuple[int, ...], device: torch.device) -> Counter[str]:
    counts: Counter[str] = Counter()

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(layer, _WithRoutes)
        counts[layer.path(tuple(inputs[0].shape))] += 1

    layers = [layer for layer in module.modules() if isinstance(layer, _WithRoutes)]
    handles = [layer.register_forward_pre_hook(count) for layer in layers]
    try:
        if layers:
            with torch.no_grad():
                module(torch.zeros(shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return counts
