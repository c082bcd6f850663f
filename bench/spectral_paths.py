"""How often the cost model of spectral layers chooses the quickest path: every path, timed over a grid of shapes."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.spectral_cases import Spectral, drawn, filled
from methods.layers import SpectralConv2d, SpectralLinear

TOLERANCE = 1.1  # a path within this factor of the quickest is a good choice
_SECONDS = 0.02  # that the calls of one sample take together, about


@dataclass(frozen=True)
class Choice:
    """Seconds of each path at one shape, and the path that the layer takes."""

    shape: str
    kept: str
    batch: int
    seconds: dict[str, float]
    chosen: str

    @property
    def loss(self) -> float:
        """Time of the chosen path over that of the quickest."""
        return self.seconds[self.chosen] / min(self.seconds.values())


def linear_choices(sizes: list[int], parts: list[int], batches: list[int]) -> list[Choice]:
    found = []
    for size in sizes:
        for part in parts:
            layer = filled(SpectralLinear(size, size, size // part, size // part))
            if (
                isinstance(layer, SpectralLinear) and layer.path() == "fast"
            ):  # holds no basis: the factored path is given one, as a layer that held it would
                layer.register_buffer("_in_basis", layer.in_basis.contiguous(), persistent=False)
                layer.register_buffer("_out_basis", layer.out_basis.contiguous(), persistent=False)
            for batch in batches:
                x = drawn(batch, size)
                chosen = layer.path(tuple(x.shape))
                times = _times(layer, x, ["factored", "materialised", "fast"])
                found.append(Choice(f"Linear {size}x{size}", f"1/{part}", batch, times, chosen))
    return found


def convolution_choices(channels: list[int], sides: list[int], parts: list[int], batches: list[int]) -> list[Choice]:
    found = []
    for width, side in zip(channels, sides, strict=True):
        for part in parts:
            layer = filled(SpectralConv2d(width, width, 3, width // part, width // part, padding=1))
            for batch in batches:
                x = drawn(batch, width, side, side)
                times = _times(layer, x, ["factored", "materialised"])
                name = f"Conv2d {width}->{width}, 3x3, {side}x{side}"
                found.append(Choice(name, f"1/{part}", batch, times, layer.path(tuple(x.shape))))
    return found


@torch.no_grad()
def _times(layer: Spectral, x: Tensor, routes: list[str], samples: int = 5) -> dict[str, float]:
    found: dict[str, list[float]] = {route: [] for route in routes}
    calls = {}
    for route in routes:
        seconds = _timed(layer, x, route, 2) / 2  # also forms the weight
        calls[route] = max(1, min(50, int(_SECONDS / seconds)))
    for _ in range(samples):
        for route in routes:
            found[route].append(_timed(layer, x, route, calls[route]) / calls[route])
    return {route: statistics.median(seconds) for route, seconds in found.items()}


def _timed(layer: Spectral, x: Tensor, route: str, calls: int) -> float:
    kind = type(layer)
    chosen = kind.path
    kind.path = lambda self, shape=(): route  # type: ignore[assignment,method-assign,misc]
    try:
        layer(x)
        start = time.thread_time()
        for _ in range(calls):
            layer(x)
        return time.thread_time() - start
    finally:
        kind.path = chosen  # type: ignore[method-assign]


def table(choices: list[Choice]) -> list[str]:
    """A Markdown table, times in microseconds, and how often the choice was good."""
    good = sum(one.loss <= TOLERANCE for one in choices)
    lines = [
        f"The path that the model takes is within {TOLERANCE - 1:.0%} of the quickest at {good} of {len(choices)} "
        f"shapes; on average it takes {statistics.geometric_mean(one.loss for one in choices):.3f} times as long as "
        f"the quickest, at worst {max(one.loss for one in choices):.2f} times.",
        "",
        "| layer | kept of each axis | batch | factored us | materialised us | fast us | taken | taken / quickest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in choices:
        times = (f"{1e6 * one.seconds[route]:.0f}" if route in one.seconds else "" for route in
                 ("factored", "materialised", "fast"))  # fmt: skip
        cells = [one.shape, one.kept, str(one.batch), *times, one.chosen, f"{one.loss:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
