"""What a scatter figure shows: points with intervals over seeds, and which of them are on the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.intervals import Spread, over_seeds, wilson
from bench.records import Role, RunRecord, RuntimeResult
from reports.crowd import CROWD
from reports.roles import ASKED
from reports.rows import DENSE
from reports.statistics import pareto_front

AROUND, LEAST_AROUND = 0.5, 1.0  # of the span of what was asked for; points: how far controls widen an axis


@dataclass(frozen=True)
class Point:
    """A chain in one panel: cost in the axis' unit, accuracy in per cent with its interval, each seed on its own."""

    chain: str
    label: str
    cost: float
    accuracy: float
    low: float
    high: float
    seeds: tuple[tuple[float, float], ...]
    role: Role = ASKED


@dataclass(frozen=True)
class Panel:
    """One set of axes: its title, the text of its x axis and its points."""

    title: str
    unit: str
    points: tuple[Point, ...]

    @property
    def front(self) -> list[Point]:
        """The points that no other beats at lower or the same cost, of the rows that were asked for, and of those that
        stand beside them the ones that beat such a point."""
        asked = _front([one for one in self.points if one.role == ASKED])
        methods = [one for one in asked if one.chain != DENSE]
        beating = [one for one in self.points if one.role != ASKED and any(_beats(one, other) for other in methods)]
        return _front([*asked, *beating])

    @property
    def named(self) -> list[Point]:
        """The points that are labelled and drawn with their intervals: all that were asked for, of a crowd dense and
        the Pareto front; of the others those on the front."""
        front = self.front
        asked = [one for one in self.points if one.role == ASKED]
        return [one for one in self.points if one in front or one.chain == DENSE or (not self.crowded and one in asked)]

    @property
    def crowded(self) -> bool:
        """Whether some of what was asked for is neither labelled nor drawn with its interval."""
        return self.asked > CROWD

    @property
    def asked(self) -> int:
        """How many rows were asked for, dense not counted."""
        return sum(one.role == ASKED and one.chain != DENSE for one in self.points)

    @property
    def range(self) -> tuple[float, float]:
        """What the accuracy axis shows, in per cent: all that is named or was asked for, with room. Other points widen
        it by AROUND of that at most, to each side."""
        named = self.named
        own = [one for one in self.points if one.role == ASKED or one in named] or list(self.points)
        low, high = min(one.low for one in own), max(one.high for one in own)
        most = max(LEAST_AROUND, AROUND * (high - low))
        near = [one for one in self.points if low - most <= one.accuracy <= high + most]
        low, high = min(low, *(one.accuracy for one in near)), max(high, *(one.accuracy for one in near))
        room = max(0.5, 0.12 * (high - low))
        return low - room, high + room

    @property
    def outside(self) -> list[Point]:
        """The points beyond the axis, drawn at its edge: controls far from all that was asked for."""
        low, high = self.range if self.points else (0.0, 100.0)
        return [one for one in self.points if not low <= one.accuracy <= high]

    def height(self, point: Point) -> float:
        """Where a point is drawn: its accuracy, or just inside the edge beyond which it lies."""
        low, high = self.range
        inset = 0.02 * (high - low)
        return (
            point.accuracy if low <= point.accuracy <= high else low + inset if point.accuracy < low else high - inset
        )


def _front(points: Sequence[Point]) -> list[Point]:
    return [points[i] for i in pareto_front([(one.cost, one.accuracy) for one in points])]


def _beats(one: Point, other: Point) -> bool:
    """Whether a point costs no more, is no less accurate, and is better in one of the two."""
    no_worse = one.cost <= other.cost and one.accuracy >= other.accuracy
    return no_worse and (one.cost, one.accuracy) != (other.cost, other.accuracy)


def points_of(samples: Sequence[tuple[RunRecord, float, RuntimeResult | None]]) -> tuple[Point, ...]:
    """A point a chain: of one seed its Wilson interval, of two the mean and one standard deviation to each side, of
    more the mean and its t interval."""
    chains: dict[tuple[str, str, Role], list[tuple[float, RuntimeResult]]] = {}
    for one, cost, result in samples:
        if result and result.accuracy and result.accuracy.seen and math.isfinite(cost) and cost > 0:
            chains.setdefault((one.chain, one.label, one.role), []).append((cost, result))
    return tuple(_point(*row, found) for row, found in chains.items())


def _point(chain: str, label: str, role: Role, found: Sequence[tuple[float, RuntimeResult]]) -> Point:
    counts = [(result.accuracy.correct, result.accuracy.seen) for _, result in found if result.accuracy]
    seeds = tuple((cost, 100 * correct / seen) for (cost, _), (correct, seen) in zip(found, counts, strict=True))
    if len(seeds) == 1:
        low, high = wilson(*counts[0])
        return Point(chain, label, seeds[0][0], seeds[0][1], 100 * low, 100 * high, seeds, role)
    cost = math.exp(over_seeds([math.log(one) for one, _ in seeds]).mean)
    spread: Spread = over_seeds([accuracy for _, accuracy in seeds], limits=(0, 100))
    low, high = spread.low, spread.high
    if len(seeds) == 2:  # whose interval says nothing and would hide the other rows
        low, high = max(0.0, spread.mean - spread.std), min(100.0, spread.mean + spread.std)
    return Point(chain, label, cost, spread.mean, low, high, seeds, role)
