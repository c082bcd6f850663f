"""Statistics of what was measured: quartiles, what is beyond chance, the Pareto front. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

UNSTABLE_SPREAD = 0.10  # interquartile range above this share of the median: the timing is called unstable


@dataclass(frozen=True)
class Quartiles:
    """Lower quartile, median and upper quartile of samples, in the samples' unit."""

    low: float
    median: float
    high: float

    @property
    def spread(self) -> float:
        """Interquartile range over the median; 0 where the median is 0."""
        return (self.high - self.low) / self.median if self.median else 0.0


def beyond_chance(count: int, trials: int, probability: float = 0.025) -> bool:
    """Whether `count` or more of `trials` 95 % intervals that miss on one side are too many for chance: less likely
    than 5 % where each misses there with `probability`."""
    tail = sum(
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(count, trials + 1)
    )
    return count > 0 and tail < 0.05


def quartiles(samples: Sequence[float]) -> Quartiles:
    """Quartiles by linear interpolation between sorted samples (numpy's default); NaN where there is none."""
    ordered = sorted(samples)
    if not ordered or any(math.isnan(one) for one in ordered):
        return Quartiles(math.nan, math.nan, math.nan)
    return Quartiles(_quantile(ordered, 0.25), median(ordered), _quantile(ordered, 0.75))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, value) that no other beats at lower or equal cost, in rising cost.

    Lower cost and higher value are better; of coincident points the first counts; points that are not finite never do.
    """
    known = [i for i, (cost, value) in enumerate(points) if math.isfinite(cost) and math.isfinite(value)]
    front: list[int] = []
    for index in sorted(known, key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
