"""How much of each layer's spectrum is kept: the form that a fraction takes, and a budget spread over layers.

A budget for the whole network is spread so that the product of the layers' kept shares of energy is largest: a signal
passes one layer after another, so its losses multiply. Taking logarithms, that is a sum of one gain a layer under a
bound on the sum of counts, solved by a price a coefficient (Everett 1963, "Generalized Lagrange multiplier method"; for
bits: Shoham, Gersho 1988).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.layers.packing import Box, Taps, triangle_count

Axes = Literal["channels", "spatial", "all"]
_STEPS = range(-24, 25)  # candidates of a global budget: the fraction times 2^(step / 4)
_HALVINGS = 60  # of the interval that holds the price


@dataclass(frozen=True)
class Sides:
    """A weight's sides, of one group. taps: rows and columns of the kernel, () of a linear layer."""

    outputs: int
    inputs: int
    taps: Taps = ()

    @property
    def count(self) -> int:
        return self.outputs * self.inputs * math.prod(self.taps)

    def whole(self) -> Box:
        return Box(self.outputs, self.inputs, self.taps)


def box_for(sides: Sides, keep: float, axes: Axes, triangle: bool) -> Box:
    """At most the fraction `keep` of a spectrum, but one coefficient of each transformed axis at least.

    axes: which axes are cut. `all` cuts each axis by about the fourth root of `keep`, the taps first and in whole
    numbers, the channels by what is left. triangle: i + j < n within channels and within taps, else rectangles.
    """
    if keep == 1:
        return sides.whole()
    taps = sides.taps
    if not taps or axes == "channels" or taps == (1, 1):
        rows, columns, diagonal = _cut(sides.outputs, sides.inputs, keep, triangle)
        return Box(rows, columns, taps, diagonal)
    if axes == "spatial":
        height, width, diagonal = _cut(taps[0], taps[1], keep, triangle)
        return Box(sides.outputs, sides.inputs, (height, width), 0, diagonal)
    height, width, tap_diagonal = _cut(taps[0], taps[1], math.sqrt(keep), triangle)
    share = triangle_count(height, width, tap_diagonal) / math.prod(taps)
    if share < keep:  # few taps come in coarse steps: the channels cannot make up for a step too far
        height, width, tap_diagonal, share = *taps, 0, 1.0
    channels = sides.outputs * sides.inputs
    if keep * channels < share:  # one coefficient over the channels, of fewer taps
        height, width, tap_diagonal = _cut(taps[0], taps[1], keep * channels, triangle)
        return Box(1, 1, (height, width), 0, tap_diagonal)
    rows, columns, diagonal = _cut(sides.outputs, sides.inputs, keep / share, triangle)
    return Box(rows, columns, (height, width), diagonal, tap_diagonal)


def _cut(height: int, width: int, keep: float, triangle: bool) -> tuple[int, int, int]:
    """Rows, columns, diagonal (0 for a rectangle) of at most the fraction `keep` of [height, width], one at least."""
    if keep >= 1:
        return height, width, 0
    if not triangle:
        return *corner(height, width, keep), 0
    low, high = 1, height + width - 1  # the largest n with a count that fits
    while low < high:
        middle = (low + high + 1) // 2
        fits = triangle_count(height, width, middle) <= keep * height * width + 1e-9
        low, high = (middle, high) if fits else (low, middle - 1)
    return min(height, low), min(width, low), low


def corner(height: int, width: int, keep: float) -> tuple[int, int]:
    """Rows and columns kept of a [height, width] spectrum: at most the fraction `keep` of it (but one entry at least),
    as near to a square as the sides allow, since the smaller side bounds the rank."""
    area = keep * height * width
    side = math.sqrt(area)
    if height <= width:
        rows = min(height, max(1, round(side)))
        return rows, min(width, max(1, math.floor(area / rows + 1e-9)))
    rows, columns = corner(width, height, keep)
    return columns, rows


def fractions_near(keep: float) -> list[float]:
    """The fractions that a global budget of `keep` chooses from, rising."""
    return sorted({min(1.0, keep * 2 ** (step / 4)) for step in _STEPS})


def kept_energy(spectrum: Tensor, box: Box, groups: int) -> float:
    """The share of the sum of squares of a whole spectrum [g * outputs, inputs, *taps] that lies in `box`."""
    energy = spectrum.detach().double().square().reshape(groups, -1, *spectrum.shape[1:]).sum(0)
    part = energy[tuple(slice(side) for side in box.shape)]
    kept = part.sum() if box.is_rectangle else part[torch.from_numpy(box.support()).to(part.device)].sum()
    return float(kept / energy.sum().clamp_min(1e-300))


def spread(curves: Mapping[str, Sequence[tuple[int, float]]], budget: int) -> dict[str, int]:
    """For each layer the index of its chosen candidate (count, share of energy), at most `budget` in all where that is
    possible, with the largest product of shares that a price a coefficient finds; what that leaves of the budget goes
    to the layers that gain most by it."""

    def chosen(price: float) -> dict[str, int]:
        return {
            name: max(range(len(curve)), key=lambda i, curve=curve: _gain(curve[i][1]) - price * curve[i][0])  # type: ignore[misc]
            for name, curve in curves.items()
        }

    def total(choice: Mapping[str, int]) -> int:
        return sum(curves[name][index][0] for name, index in choice.items())

    if total(free := chosen(0.0)) <= budget:
        return free
    low, high = 0.0, 1e6
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high) if low else high * 1e-3
        low, high = (low, middle) if total(chosen(middle)) <= budget else (middle, high)
    return _filled(curves, chosen(high), budget - total(chosen(high)))


def _filled(curves: Mapping[str, Sequence[tuple[int, float]]], choice: dict[str, int], left: int) -> dict[str, int]:
    """`choice` with larger candidates for `left` more coefficients at most, the most gain a coefficient first: a price
    finds only candidates of the concave hull, and steps between those are wide."""
    choice = dict(choice)
    while True:
        best, most, price = None, 0, 0.0
        for name, curve in curves.items():
            count, share = curve[choice[name]]
            for index, (larger, more) in enumerate(curve):
                gain = (_gain(more) - _gain(share)) / (larger - count) if 0 < larger - count <= left else 0.0
                if gain > price:
                    best, most, price = (name, index), larger - count, gain
        if best is None:
            return choice
        choice[best[0]], left = best[1], left - most


def _gain(share: float) -> float:
    return math.log(max(share, 1e-30))
