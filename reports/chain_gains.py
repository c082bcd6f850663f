"""What goes well together: a chain's gain beside the gains of its parts alone, and the orders of a chain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from bench.records import RunRecord
from reports.chains import stage_texts
from reports.comparisons import Difference
from reports.controls import MARGIN, SAME_FILE, against_file
from reports.pairing import (
    Range,
    Row,
    compared,
    geometric_range,
    mean_range,
    rows_of,
    scored_alike,
    smaller_by,
)
from reports.roles import CONTROLS
from reports.rows import DENSE, find, middle, same_runtime

GAIN_RULE = (
    "The chain's factor over the product of the factors that its parts reach alone on the dense network of the same "
    "seed; its drop in accuracy less the sum of theirs. Above 1× the parts together gain more than one after the other "
    "would; below 1× they go after the same thing. Means over the seeds (of factors geometric), with Student's t "
    "interval."
)
ORDER_RULE = (
    f"One order is better than another where its file is smaller by more than {100 * SAME_FILE:g} % and the 95 % "
    f"interval of the paired difference in accuracy leaves no room for a loss of more than {100 * MARGIN:g} points, "
    "or where it is more accurate beyond the interval at no larger file; where one is smaller and the other more "
    "accurate it is a trade."
)


@dataclass(frozen=True)
class Gain:
    """A chain of one seed beside its parts. Factors over dense; NaN where something was not measured."""

    record: RunRecord
    parts: tuple[RunRecord, ...]
    compression: float
    parts_compression: float  # product
    drop: float  # of accuracy, as a fraction
    parts_drop: float  # sum


@dataclass(frozen=True)
class Faster:
    """A chain of one seed in one runtime beside its parts: speed-ups of one image over dense."""

    record: RunRecord
    runtime: str
    speedup: float
    parts_speedup: float  # product


@dataclass(frozen=True)
class Together:
    """A chain over its seeds beside its parts."""

    label: str
    net: str
    dataset: str
    parts: tuple[str, ...]  # labels
    seeds: tuple[int, ...]
    compression: Range
    parts_compression: Range
    quotient: Range
    drop: Range
    parts_drop: Range
    more_drop: Range  # the chain's less its parts'
    faster: tuple[tuple[str, Range, Range, Range], ...]  # runtime, speed-up, product of the parts', quotient


@dataclass(frozen=True)
class Orders:
    """Two orders of the same stages, the first less and over the second."""

    first: Row
    second: Row
    gap: Difference | None
    smaller: float  # the second's bytes over the first's
    verdict: str  # of the first


def gains(records: Sequence[RunRecord]) -> list[Gain]:
    """Each seed of each chain of two stages or more whose parts and whose dense network were measured."""
    good = [one for one in records if one.status == "ok" and one.file_bytes > 0]
    alone = {(one.net, one.dataset, one.seed, one.chain): one for one in good}
    found = []
    for one in good:
        stages, place = stage_texts(one.chain), (one.net, one.dataset, one.seed)
        parts = [alone.get((*place, text)) for text in stages]
        dense, known = alone.get((*place, DENSE)), [part for part in parts if part]
        if len(stages) > 1 and one.role not in CONTROLS and dense and len(known) == len(stages):
            factors = [dense.file_bytes / row.file_bytes for row in (one, *known)]
            drop, *drops = _drops(dense, [one, *known])
            found.append(Gain(one, tuple(known), factors[0], math.prod(factors[1:]), drop, sum(drops)))
    return found


def faster(gain: Gain) -> Iterator[Faster]:
    """A chain's speed-ups, batch 1, in each runtime that timed it and all its parts."""
    for result in gain.record.runtimes:
        speeds = [_speedup(one, result.runtime) for one in (gain.record, *gain.parts)]
        if all(math.isfinite(one) for one in speeds):
            yield Faster(gain.record, result.runtime, speeds[0], math.prod(speeds[1:]))


def together(records: Sequence[RunRecord]) -> list[Together]:
    """The chains over their seeds, in the order of the records."""
    chains: dict[tuple[str, str, str], list[Gain]] = {}
    for one in gains(records):
        chains.setdefault((one.record.net, one.record.dataset, one.record.chain), []).append(one)
    return [_together(of) for of in chains.values()]


def orders(records: Sequence[RunRecord]) -> list[Orders]:
    """Each two orders of the same stages that were measured."""
    alike: dict[tuple[str, str, tuple[str, ...]], list[Row]] = {}
    for row in rows_of(records):
        stages = stage_texts(row.chain)
        if row.role not in CONTROLS and row.good and len(stages) > 1:
            alike.setdefault((row.net, row.dataset, tuple(sorted(stages))), []).append(row)
    found = []
    for of in alike.values():
        for first, second in combinations(of, 2):
            gap, smaller = compared(first, second), smaller_by(first, second)
            found.append(Orders(first, second, gap, smaller, against_file(gap, smaller)))
    return found


def refused_orders(records: Sequence[RunRecord]) -> list[Row]:
    """The orders that cannot be, or that failed, each once."""
    return [row for row in rows_of(records) if row.role == "order" and row.trouble]


def chains_csv(records: Sequence[RunRecord]) -> str:
    """A line a chain, seed and runtime in full precision; of one that timed nothing a line without speed-ups."""
    lines = []
    for one in gains(records):
        line = {
            "method": one.record.label,
            "chain": one.record.chain,
            "net": one.record.net,
            "dataset": one.record.dataset,
            "seed": one.record.seed,
            "role": one.record.role,
            "parts": " ".join(part.label for part in one.parts),
            "compression_ratio": one.compression,
            "parts_compression_ratio": one.parts_compression,
            "compression_quotient": one.compression / one.parts_compression,
            "accuracy_drop": one.drop,
            "parts_accuracy_drop": one.parts_drop,
            "further_accuracy_drop": one.drop - one.parts_drop,
        }
        timed = [
            {
                "runtime": speed.runtime,
                "speedup_b1": speed.speedup,
                "parts_speedup_b1": speed.parts_speedup,
                "speedup_b1_quotient": speed.speedup / speed.parts_speedup,
            }
            for speed in faster(one)
        ]
        lines += [line | times for times in timed or [{"runtime": ""}]]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _together(of: Sequence[Gain]) -> Together:
    speeds: dict[str, list[Faster]] = {}
    for one in of:
        for speed in faster(one):
            speeds.setdefault(speed.runtime, []).append(speed)
    first = of[0].record
    return Together(
        first.label,
        first.net,
        first.dataset,
        tuple(part.label for part in of[0].parts),
        tuple(sorted(one.record.seed for one in of)),
        geometric_range([one.compression for one in of]),
        geometric_range([one.parts_compression for one in of]),
        geometric_range([one.compression / one.parts_compression for one in of]),
        mean_range([one.drop for one in of]),
        mean_range([one.parts_drop for one in of]),
        mean_range([one.drop - one.parts_drop for one in of]),
        tuple(
            (
                runtime,
                geometric_range([one.speedup for one in found]),
                geometric_range([one.parts_speedup for one in found]),
                geometric_range([one.speedup / one.parts_speedup for one in found]),
            )
            for runtime, found in speeds.items()
        ),
    )


def _drops(dense: RunRecord, rows: Sequence[RunRecord]) -> list[float]:
    """Accuracy of dense less that of each row, in the first runtime that scored them all; NaN without one."""
    scores = scored_alike([dense, *rows])
    if scores is None:
        return [math.nan for _ in rows]
    shares = [one.correct / one.seen for one in scores]
    return [shares[0] - share for share in shares[1:]]


def _speedup(one: RunRecord, runtime: str) -> float:
    result = same_runtime(one, runtime)
    if result is None:
        return math.nan
    own = middle(find(result.measurements, "latency", 1))
    return middle(find(result.dense_measurements, "latency", 1)) / own if own > 0 else math.nan
