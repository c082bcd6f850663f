"""Sweeps in a run: rows of one method that differ in one number, as curves, a panel for each choice of layers.

What is read is the chain's canonical text, NAME:KEY=VALUE:...+NAME:..., with every hyperparameter. The order of the
records does not matter: seeds, points, curves and panels have an order of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.intervals import over_seeds, wilson
from bench.records import Accuracy, RunRecord
from reports.chains import LEAST, Place, Stages, methods, names_of, placed, swept_settings, without
from reports.hits import Hits, Score, hits_of
from reports.rows import DENSE, first_scored, reference, same_runtime

BASES = ("dct", "dst", "dft", "wavelet", "hadamard")  # fixed orthonormal bases: what random_basis is the control of
RANDOM = "random_basis"
PEERS = ("lowrank", "prune")  # what spectral layers are held against at equal bytes
SCOPES = ("linear", "conv", "all")


@dataclass(frozen=True)
class Sample:
    """One seed of a row, in the first runtime that scored it, and the dense network of that seed in the same one."""

    seed: int
    file_bytes: int
    accuracy: Accuracy
    dense: Accuracy | None
    dense_bytes: int  # 0 where there is no dense network
    hits: Hits | None = None  # which images it gets right, where that is known

    @property
    def score(self) -> Score:
        return Score(self.share, self.accuracy.seen, self.hits)

    @property
    def share(self) -> float:
        """Correct / seen."""
        return self.accuracy.correct / self.accuracy.seen

    @property
    def lost(self) -> float:
        """Accuracy below dense, as a fraction; NaN where there is no dense network."""
        return self.dense.correct / self.dense.seen - self.share if self.dense and self.dense.seen else math.nan


@dataclass(frozen=True)
class Point:
    """A row over its seeds: the value that is swept, and those of its seeds that went well."""

    value: float
    text: str  # "keep=0.25"
    samples: tuple[Sample, ...]  # in the order of their seeds; empty where none went well
    seeds: int
    trouble: str  # "failed" or "refused" where some seed did not go well

    @property
    def kept(self) -> float | None:
        """The fraction of the weights' numbers that is kept, where the swept value says so."""
        key = self.text.partition("=")[0]
        return {"keep": self.value, "sparsity": round(1 - self.value, 10)}.get(key)

    @property
    def file_bytes(self) -> float:
        """Geometric mean over the seeds."""
        return math.exp(fmean(math.log(one.file_bytes) for one in self.samples))

    @property
    def ratio(self) -> float:
        """Dense bytes / stored bytes, geometric mean over the seeds that have a dense network; NaN without one."""
        known = [math.log(one.dense_bytes / one.file_bytes) for one in self.samples if one.dense_bytes]
        return math.exp(fmean(known)) if known else math.nan

    @property
    def lost(self) -> float:
        """Mean accuracy below the dense network of the same seed, as a fraction; NaN without one."""
        return over_seeds([one.lost for one in self.samples]).mean


@dataclass(frozen=True)
class Curve:
    """The rows of a panel that differ in the swept value only."""

    name: str  # the methods, and of their settings those that tell curves of the same methods apart
    stages: Stages  # without the swept value and without what the panel stands for
    points: tuple[Point, ...]  # in rising value

    @property
    def method(self) -> str:
        """The first method of the chain."""
        return self.stages[0][0]

    @property
    def measured(self) -> list[Point]:
        """The points of which at least one seed went well, in rising bytes."""
        return sorted((one for one in self.points if one.samples), key=lambda one: (one.file_bytes, one.value))

    @property
    def is_basis(self) -> bool:
        """Whether the chain starts with a spectral method, the random control not counted."""
        return self.method in BASES

    @property
    def is_control(self) -> bool:
        """Whether the chain starts with what spectral methods are held against."""
        return self.method in (RANDOM, *PEERS)

    @property
    def order(self) -> tuple[int, int, str]:
        """Spectral methods first, then what nobody ranked, then the controls."""
        group = 0 if self.is_basis else 2 if self.is_control else 1
        return group, _rank(self.method, (*BASES, RANDOM, *PEERS))[0], self.name


@dataclass(frozen=True)
class Panel:
    """Curves that compress the same layers of the same network."""

    net: str
    dataset: str
    scope: str  # the value of `layers` of the chain's first method; empty where it has none
    dense: tuple[Sample, ...]
    curves: tuple[Curve, ...]
    name: str  # what a report calls it


def sweeps(records: Sequence[RunRecord], only: str = "") -> list[Panel]:
    """The panels of a run with their curves, those with LEAST values or more in some panel; empty where none is. With
    `only`, curves over that hyperparameter, of one value too.

    Of each sequence of methods that hyperparameter is swept which takes the most values, the others being equal.
    """
    rows: dict[Place, list[RunRecord]] = {}
    for one in records:
        if one.chain != DENSE:
            rows.setdefault(placed(one.net, one.dataset, one.chain), []).append(one)
    swept = swept_settings(rows, only)
    found: dict[tuple[str, str, str], dict[Stages, list[Point]]] = {}
    for row, of_row in rows.items():
        if (names := methods(row.stages)) in swept:
            rest, key, text = without(row.stages, *swept[names])
            if text == "None":  # not set: the method chose, which is no number to draw over
                continue
            point = _point(f"{key}={text}", float(text), of_row, records)
            found.setdefault((row.net, row.dataset, row.scope), {}).setdefault(rest, []).append(point)
    long = {stages for curves in found.values() for stages, points in curves.items() if only or len(points) >= LEAST}
    named = names_of(long)
    places = {place[:2] for place in found}
    panels = []
    for place in sorted(found, key=lambda one: (one[:2], _rank(one[2], SCOPES))):
        chosen = [_curve(named[one], one, points) for one, points in found[place].items() if one in long]
        if chosen:
            name = " ".join([*([f"{place[0]} on {place[1]},"] if len(places) > 1 else []), _scope(place[2])])
            panels.append(
                Panel(*place, _dense(records, *place[:2]), tuple(sorted(chosen, key=lambda one: one.order)), name)
            )
    return panels


def interval(samples: Sequence[Sample]) -> tuple[float, float, float]:
    """Mean accuracy with low and high, as fractions: of one seed its Wilson interval, of two the mean and one standard
    deviation to each side, of more Student's t interval of the mean."""
    if len(samples) == 1:
        return samples[0].share, *wilson(samples[0].accuracy.correct, samples[0].accuracy.seen)
    spread = over_seeds([one.share for one in samples], limits=(0.0, 1.0))
    if len(samples) == 2:
        return spread.mean, max(0.0, spread.mean - spread.std), min(1.0, spread.mean + spread.std)
    return spread.mean, spread.low, spread.high


def point_of(of_row: Sequence[RunRecord], records: Sequence[RunRecord] = ()) -> Point:
    """A row that is not swept, as a point: its seeds, whatever its settings."""
    return _point("", 0.0, of_row, records)


def _point(text: str, value: float, of_row: Sequence[RunRecord], records: Sequence[RunRecord]) -> Point:
    samples = [sample for one in of_row if (sample := _sample(one, records))]
    bad = sorted({one.status if one.status != "ok" else "failed" for one in of_row if not _sample(one, records)})
    return Point(value, text, tuple(sorted(samples, key=lambda one: one.seed)), len(of_row), " or ".join(bad))


def _sample(one: RunRecord, records: Sequence[RunRecord]) -> Sample | None:
    result = first_scored(one)
    if one.status != "ok" or one.file_bytes <= 0 or result is None or result.accuracy is None:
        return None
    dense = reference(one, records)
    beside = same_runtime(dense, result.runtime)
    return Sample(
        one.seed,
        one.file_bytes,
        result.accuracy,
        beside.accuracy if beside and beside.accuracy and beside.accuracy.seen else None,
        dense.file_bytes if dense else 0,
        hits_of(one, result.accuracy),
    )


def _dense(records: Sequence[RunRecord], net: str, dataset: str) -> tuple[Sample, ...]:
    own = [one for one in records if (one.chain, one.net, one.dataset) == (DENSE, net, dataset)]
    return tuple(sorted((s for one in own if (s := _sample(one, records))), key=lambda one: one.seed))


def _curve(name: str, stages: Stages, points: Sequence[Point]) -> Curve:
    return Curve(name, stages, tuple(sorted(points, key=lambda one: one.value)))


def _scope(scope: str) -> str:
    return f"layers={scope}" if scope else "whole network"


def _rank(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order)), name
