"""K-means of numbers, exactly, and with a price on the bits of what it assigns.

Sorted numbers make each cluster an interval, so a round of Lloyd's iteration is k searches among them and k differences
of running sums: no distance is computed. With a price, a number x takes the centroid c of least

    (x - c)^2 / variance + rate * log2(1 / share of c)

(Chou, Lookabaugh, Gray 1989, "Entropy-constrained vector quantization", equation 4): the clusters are still intervals,
between the points where the parabolas of neighbours on the lower envelope cross. Deterministic; float64 inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Start = Literal["linear", "density"]
_MOST_ROUNDS = 300


@dataclass(frozen=True)
class Clusters:
    """Values in rising order, each with the interval of sorted numbers that take it.

    centroids: float64 [k]. breaks: float64 [k - 1], a number below breaks[j] takes one of the first j + 1.
    counts: int64 [k]. fixed: bool [k], those that stay where they are.
    """

    centroids: Tensor
    breaks: Tensor
    counts: Tensor
    fixed: Tensor

    def places(self, values: Tensor) -> Tensor:
        """Index of the centroid that each of `values` [...] takes, int64."""
        return torch.searchsorted(self.breaks, values.double().contiguous(), right=True)


def clustered(values: Tensor, count: int, *, start: Start, rate: float = 0.0, zero: bool = False) -> Clusters:
    """At most `count` values for the numbers `values` [n], all of them used, by Lloyd's iteration from `start`.

    start: values a like distance apart over the range, or with like numbers of `values` between (arXiv 1510.00149,
    section 3.2). rate: price of a bit, in variances. zero: 0.0 is one of the values, and stays.

    Raises:
        ValueError: there are no numbers, or some are not finite.
    """
    if not values.numel() or not bool(values.isfinite().all()):
        raise ValueError(f"only finite numbers have means, and one at least is needed, got {values.numel()}")
    ordered = values.detach().flatten().double().sort().values
    first = _started(ordered, count, start, zero)
    *_, last = rounds(ordered, first, rate=rate, zero=zero)
    used = last.counts > 0
    kept = _with_breaks(last.centroids[used], last.fixed[used], last.counts[used], len(ordered), _price(ordered, rate))
    return Clusters(kept.centroids, kept.breaks, last.counts[used], kept.fixed)


def rounds(ordered: Tensor, centroids: Tensor, *, rate: float = 0.0, zero: bool = False) -> Iterator[Clusters]:
    """Lloyd's iteration on sorted numbers [n] from sorted `centroids` [k] until no number changes its place.

    Each round assigns numbers to the values before it, then moves each value to the mean of its numbers.
    """
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    price, size = _price(ordered, rate), len(ordered)
    counts = torch.full_like(centroids, size / len(centroids), dtype=torch.float64)  # like shares to begin with
    fixed = (centroids == 0) if zero else torch.zeros_like(centroids, dtype=torch.bool)
    now, before = _with_breaks(centroids, fixed, counts, size, price), torch.empty(0)
    for _ in range(_MOST_ROUNDS):
        inner = torch.searchsorted(ordered, now.breaks)
        edges = torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), size)])
        counts = edges.diff()
        means = sums[edges].diff() / counts.clamp(min=1)
        moved = torch.where((counts > 0) & ~now.fixed, means, now.centroids)
        yield Clusters(moved, now.breaks, counts, now.fixed)
        if torch.equal(edges, before):
            return
        before = edges
        now = _with_breaks(moved, now.fixed, counts, size, price)


def _started(ordered: Tensor, count: int, start: Start, zero: bool) -> Tensor:
    """Sorted distinct values to begin with; the numbers themselves if they are so few."""
    numbers = ordered[ordered != 0] if zero else ordered
    first = torch.unique_consecutive(numbers)
    if len(first) > (free := count - zero):
        shares = (torch.arange(free, dtype=torch.float64) + 0.5) / free
        if start == "density":
            first = numbers[(shares * len(numbers)).long()]
        elif free == 1:
            first = (ordered[:1] + ordered[-1:]) / 2
        else:
            first = torch.linspace(ordered[0].item(), ordered[-1].item(), free, dtype=torch.float64)
    return torch.unique(torch.cat([first, first.new_zeros(1)]) if zero else first)


def _price(ordered: Tensor, rate: float) -> float:
    """Of a bit, in squares of the numbers."""
    return rate * ordered.var(correction=0).item() if rate else 0.0


def _with_breaks(centroids: Tensor, fixed: Tensor, counts: Tensor, size: int, price: float) -> Clusters:
    """Clusters of these values, sorted, each once, and where they meet; with a price, those that nothing takes go."""
    order = (~fixed).long().argsort(stable=True)
    order = order[centroids[order].argsort(stable=True)]  # of like values the fixed one comes first
    centroids, fixed, counts = centroids[order], fixed[order], counts[order]
    kept = torch.cat([fixed.new_ones(1), centroids.diff() > 0])
    if price:
        kept &= counts > 0
    centroids, fixed, counts = centroids[kept], fixed[kept], counts[kept]
    if not price:
        return Clusters(centroids, (centroids[1:] + centroids[:-1]) / 2, counts, fixed)
    lengths = (size / counts.double()).log2()
    best, breaks = _envelope(centroids.tolist(), (price * lengths).tolist())
    return Clusters(centroids[best], torch.tensor(breaks, dtype=torch.float64), counts[best], fixed[best])


def _envelope(centroids: list[float], prices: list[float]) -> tuple[list[int], list[float]]:
    """Which parabolas (x - c)^2 + price are least anywhere, by rising c, and where each but the first takes over."""
    kept: list[int] = []
    breaks: list[float] = []
    for new, c in enumerate(centroids):
        while kept:
            old = kept[-1]
            crossing = (c + centroids[old]) / 2 + (prices[new] - prices[old]) / (2 * (c - centroids[old]))
            if not breaks or crossing > breaks[-1]:
                breaks.append(crossing)
                break
            kept.pop()
            breaks.pop()
        kept.append(new)
    return kept, breaks
