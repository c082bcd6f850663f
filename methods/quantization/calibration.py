"""Ranges of activations from a few hundred images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.fx import GraphModule

from methods.layers.activations import LARGEST_CODE, activation_grid
from methods.layers.watching import watching
from methods.quantization.histogram import Histogram
from methods.quantization.placement import activation_quantizers

Observer = Literal["histogram", "minmax", "percentile"]
_FRACTIONS = torch.linspace(1.0, 0.3, 36)  # of the observed range that the search tries
_SHARE = 0.9999  # of the values that `percentile` keeps inside the range


def calibrate(model: GraphModule, batches: Iterable[Tensor], observer: Observer) -> GraphModule:
    """Sets the range of every quantiser of `model` from what it sees of `batches` [n, c, h, w], in place.

    Raises:
        ValueError: there are no images, or activations are not finite.
    """
    model.eval()
    seen = {quantizer: Histogram() for quantizer in activation_quantizers(model)}
    with watching(seen, lambda quantizer, x: seen[quantizer].add(x)), torch.no_grad():
        images = sum(len(model(batch)) for batch in batches)
    if not images:
        raise ValueError("no images to calibrate with: the task's training part is empty")
    for quantizer, histogram in seen.items():
        quantizer.set_range(*chosen_range(histogram, observer))
        quantizer.freeze()
    return model


def chosen_range(histogram: Histogram, observer: Observer) -> tuple[float, float]:
    """The range of values that `observer` picks: all that was seen (`minmax`), all but the rarest 0.01 %
    (`percentile`), or the one of least squared rounding error (`histogram`)."""
    match observer:
        case "minmax":
            return histogram.low, histogram.high
        case "percentile":
            return histogram.percentile(_SHARE)
        case "histogram":
            return least_squares_range(*histogram.values(), histogram.low, histogram.high)


def least_squares_range(values: Tensor, counts: Tensor, low: float, high: float) -> tuple[float, float]:
    """The range inside [low, high] whose uint8 grid rounds `values` [n] with the least squared error; counts [n]: how
    often each was seen.

    Clipping the tails makes the grid finer for all that is left (arXiv 1806.08342, section 3.2 leaves the choice
    open). The upper end is sought first, then the lower end; [low, high] itself is among the candidates.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    high = min((float(f) * high for f in _FRACTIONS), key=lambda end: _squared_error(values, counts, low, end))
    low = min((float(f) * low for f in _FRACTIONS), key=lambda end: _squared_error(values, counts, end, high))
    return low, high


def _squared_error(values: Tensor, counts: Tensor, low: float, high: float) -> float:
    scale, zero_point = activation_grid(torch.tensor(low), torch.tensor(high))
    rounded = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, LARGEST_CODE)
    return float(((values - rounded).square() * counts).sum())
