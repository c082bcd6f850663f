"""Rows over their seeds, and what one has over another on the seeds that both have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bench.intervals import over_seeds
from bench.records import Accuracy, Role, RunRecord
from reports.cells import counted, markdown
from reports.comparisons import Difference, paired
from reports.hits import score_of
from reports.rows import DENSE, same_runtime

BETTER, WORSE, ALIKE = "better", "worse", "cannot be told apart"
NO_SEED = "no seed in common"
MOST_NAMED = 8  # rows that a sentence names as what it rests on


@dataclass(frozen=True)
class Row:
    """One chain on one network and data set, over its seeds."""

    net: str
    dataset: str
    chain: str
    label: str
    role: Role
    control_of: tuple[str, ...]
    records: tuple[RunRecord, ...] = field(repr=False)  # all seeds, those that went wrong too

    @property
    def good(self) -> dict[int, RunRecord]:
        """The records that went well and have a file, by seed."""
        return {one.seed: one for one in self.records if one.status == "ok" and one.file_bytes > 0}

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of the good records, in rising order."""
        return tuple(sorted(self.good))

    @property
    def file_bytes(self) -> float:
        """Geometric mean over the seeds that went well; NaN where none did."""
        return geometric([one.file_bytes for one in self.good.values()])

    @property
    def trouble(self) -> str:
        """`refused: why` or `failed: why` of the first seed that went wrong; empty where all went well."""
        return next((f"{one.status}: {one.reason}" for one in self.records if one.status != "ok"), "")


@dataclass(frozen=True)
class Range:
    """A mean over seeds with its 95 % interval; of one seed its value, and an interval of NaN."""

    mean: float
    low: float
    high: float
    seeds: int


def rows_of(records: Iterable[RunRecord]) -> list[Row]:
    """The rows in the order of their first records."""
    found: dict[tuple[str, str, str], list[RunRecord]] = {}
    for one in records:
        found.setdefault((one.net, one.dataset, one.chain), []).append(one)
    return [
        Row(*place, of[0].label, of[0].role, of[0].control_of, tuple(sorted(of, key=lambda one: one.seed)))
        for place, of in found.items()
    ]


def dense_of(row: Row, rows: Iterable[Row]) -> Row | None:
    """The dense network of a row's net and data set."""
    return next((one for one in rows if one.chain == DENSE and same_place(one, row)), None)


def same_place(first: Row, second: Row) -> bool:
    """Whether two rows are of the same network and data set."""
    return (first.net, first.dataset) == (second.net, second.dataset)


def scored_alike(ones: Sequence[RunRecord]) -> list[Accuracy] | None:
    """The accuracies of several records in the first runtime that scored them all; None where there is none."""
    for result in ones[0].runtimes:
        found = [beside.accuracy if (beside := same_runtime(one, result.runtime)) else None for one in ones]
        known = [one for one in found if one and one.seen]
        if len(known) == len(ones):
            return known
    return None


def compared(first: Row, second: Row) -> Difference | None:
    """Accuracy of the first less that of the second, paired over the seeds that both have; None without one."""
    pairs = []
    for seed in first.seeds:
        if seed in second.good and (scores := scored_alike([first.good[seed], second.good[seed]])):
            own, other = scores
            pairs.append((score_of(first.good[seed], own), score_of(second.good[seed], other)))
    return paired(pairs) if pairs else None


def verdict(gap: Difference | None) -> str:
    """In words, by whether the 95 % interval leaves zero out."""
    if gap is None:
        return NO_SEED
    return BETTER if gap.better else WORSE if gap.worse else ALIKE


def smaller_by(first: Row, second: Row) -> float:
    """Bytes of the second over bytes of the first, geometric mean over the seeds that both have; NaN without one."""
    return over_common(first, second, lambda own, other: other.file_bytes / own.file_bytes)


def over_common(first: Row, second: Row, of: Callable[[RunRecord, RunRecord], float]) -> float:
    """Geometric mean over the seeds that both rows have."""
    return geometric([of(first.good[seed], second.good[seed]) for seed in first.seeds if seed in second.good])


def geometric(values: Iterable[float]) -> float:
    """Geometric mean of the finite and positive ones; NaN where there is none."""
    return geometric_range(list(values)).mean


def geometric_range(values: Sequence[float]) -> Range:
    """Geometric mean of factors with Student's t interval of their logarithms."""
    spread = over_seeds([math.log(one) for one in values if math.isfinite(one) and one > 0])
    return Range(math.exp(spread.mean), _exp(spread.low), _exp(spread.high), spread.count)


def mean_range(values: Sequence[float]) -> Range:
    """Mean with Student's t interval."""
    spread = over_seeds(values)
    return Range(spread.mean, spread.low, spread.high, spread.count)


def points(gap: Difference) -> str:
    """A difference in percentage points with its interval: +0.52 (-0.10 to +1.14)."""
    low, high = (100 * min(1.0, max(-1.0, side)) for side in (gap.low, gap.high))  # two seeds bound nothing
    return f"{100 * gap.mean:+.2f} ({low:+.2f} to {high:+.2f})"


def seeds_text(seeds: Iterable[int]) -> str:
    """Seed 0; seeds 0, 1."""
    found = sorted(set(seeds))
    return f"seed{'s' * (len(found) != 1)} {', '.join(map(str, found)) or 'none'}"


def rests_on(*rows: Row) -> str:
    """The rows that a sentence rests on, by label, and the seeds that all have: (rests on: `a`, `b`; seeds 0, 1)."""
    labels = list(dict.fromkeys(code(row) for row in rows))
    every = {seed for row in rows for seed in row.seeds}
    common = every.intersection(*(row.seeds for row in rows))
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    return f"(rests on: {', '.join(labels[:MOST_NAMED])}{more}; {seeds_text(common or every)})"


def code(row: Row) -> str:
    """A row's label as code in Markdown."""
    return f"`{row.label}`"


def on_seeds(*counts: int) -> str:
    """On one seed; over 3 seeds; over 1 to 3 seeds, where comparisons differ in how many they have."""
    few, many = min(counts), max(counts)
    if few < many:
        return f"over {few} to {counted(many, 'seed')}"
    return "on one seed" if many == 1 else f"over {counted(many, 'seed')}"


def places_text(row: Row, rows: Iterable[Row]) -> str:
    """`lenet on digits: ` where a run has several networks or data sets, otherwise nothing."""
    several = len({(one.net, one.dataset) for one in rows}) > 1
    return f"{markdown(f'{row.net} on {row.dataset}')}: " if several else ""


def _exp(logarithm: float) -> float:
    return math.inf if logarithm > 700 else math.exp(logarithm)  # NaN stays what it is
