"""Rows to choose among: each chain of each run in each runtime, over its seeds, with figures and their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.intervals import over_seeds, wilson
from bench.records import RunRecord, RuntimeResult
from reports.comparisons import paired
from reports.hits import Score, score_of
from reports.pairing import Range, Row, dense_of, geometric_range, mean_range, rows_of
from reports.roles import ASKED
from reports.rows import DENSE, find, middle, same_runtime
from reports.run_folders import Run
from reports.statistics import quartiles

UNKNOWN = Range(math.nan, math.nan, math.nan, 0)
_OF_A_FILE: dict[str, Callable[[RunRecord], float]] = {
    "size": lambda one: one.file_bytes,
    "params": lambda one: one.parameters,
    "macs": lambda one: one.macs,
}


@dataclass(frozen=True)
class Found:
    """One row of one run in one runtime, over the seeds that went well there."""

    run: Run = field(repr=False)
    row: Row
    dense: Row | None = field(repr=False)
    runtime: str
    batch: int  # of the latency

    @cached_property
    def good(self) -> dict[int, tuple[RunRecord, RuntimeResult]]:
        """Record and result of each seed, in rising order."""
        found = {seed: (one, same_runtime(one, self.runtime)) for seed, one in sorted(self.row.good.items())}
        return {seed: (one, result) for seed, (one, result) in found.items() if result}

    @property
    def first(self) -> RunRecord:
        return next(iter(self.good.values()))[0]

    @property
    def device(self) -> str:
        return str(self.first.environment.get("device", "cpu"))

    @property
    def is_dense(self) -> bool:
        return self.row.chain == DENSE

    @property
    def is_control(self) -> bool:
        """Whether it was not asked for, but added to be compared with."""
        return self.row.role != ASKED

    @property
    def scores(self) -> dict[int, Score]:
        """Its accuracy by seed, where it was scored."""
        return {s: score_of(one, r.accuracy) for s, (one, r) in self.good.items() if r.accuracy and r.accuracy.seen}

    def of(self, quantity: str, *, ratio: bool = False) -> Range:
        """A quantity in bytes, seconds, points, per cent or a count; `ratio`: dense over this. Its interval is over the
        seeds; of one seed over the images, or the middle half of the latency's samples. UNKNOWN where it was not
        measured, or there is no dense network to hold it against."""
        if quantity == "drop":
            return self._drop()
        if quantity == "accuracy":
            return self._accuracy()
        if ratio:
            values = [1.0] * len(self.good) if self.is_dense else [self._ratio(quantity, seed) for seed in self.good]
            found = geometric_range(values)
        else:
            found = mean_range([self._level(quantity, *one) for one in self.good.values()])
        if quantity == "latency" and found.seeds == 1 and not ratio:
            return self._middle_half(found)
        return found if found.seeds else UNKNOWN

    def file_of(self, seed: int) -> Path:
        """Where the file of a seed lies."""
        return self.run.folder / self.row.good[seed].artifact

    def validation_drop(self) -> float:
        """In points, the mean over the seeds; NaN where it is not known of each."""
        denses = self.dense.good if self.dense else {}
        pairs = [(denses[s].validation_accuracy, one.validation_accuracy) for s, (one, _) in self.good.items()
                 if s in denses]  # fmt: skip
        gaps = [100 * (before - after) for before, after in pairs if before is not None and after is not None]
        return math.fsum(gaps) / len(gaps) if gaps else math.nan

    def _level(self, quantity: str, one: RunRecord, result: RuntimeResult) -> float:
        if quantity in _OF_A_FILE:
            return float(_OF_A_FILE[quantity](one))
        if quantity == "memory":
            return middle(find(result.measurements, "peak_memory"))
        return middle(find(result.measurements, "latency", self.batch))

    def _ratio(self, quantity: str, seed: int) -> float:
        one, result = self.good[seed]
        own = self._level(quantity, one, result)
        if quantity == "latency":  # by turns with dense, in the same process
            return middle(find(result.dense_measurements, "latency", self.batch)) / own if own else math.nan
        dense = self.dense.good.get(seed) if self.dense else None
        beside = same_runtime(dense, self.runtime)
        if quantity in _OF_A_FILE and dense:
            return float(_OF_A_FILE[quantity](dense)) / own if own else math.nan
        return self._level(quantity, dense, beside) / own if dense and beside and own else math.nan

    def _middle_half(self, found: Range) -> Range:
        taken = [find(result.measurements, "latency", self.batch) for _, result in self.good.values()]
        known = next(one for one in taken if one and math.isfinite(middle(one)))
        spread = quartiles(known.samples)
        return Range(found.mean, spread.low, spread.high, 1)

    def _accuracy(self) -> Range:
        scores = list(self.scores.values())
        if len(scores) != 1:
            image = 100 / max((one.seen for one in scores), default=1)  # the same in a few seeds by chance
            found = over_seeds([100 * one.share for one in scores], limits=(0.0, 100.0), smallest_std=image)
            return Range(found.mean, found.low, found.high, found.count) if scores else UNKNOWN
        (one,) = scores
        low, high = wilson(round(one.share * one.seen), one.seen)
        return Range(100 * one.share, 100 * low, 100 * high, 1)

    def _drop(self) -> Range:
        if self.is_dense:
            return Range(0.0, 0.0, 0.0, len(self.scores)) if self.scores else UNKNOWN
        if self.dense is None:
            return UNKNOWN
        denses = Found(self.run, self.dense, None, self.runtime, self.batch).scores
        pairs = [(denses[seed], own) for seed, own in self.scores.items() if seed in denses]
        if not pairs:
            return UNKNOWN
        gap = paired(pairs)
        return Range(100 * gap.mean, 100 * gap.low, 100 * gap.high, gap.seeds)


def all_rows(runs: Sequence[Run], batch: int) -> list[Found]:
    """Every row of every run in every runtime that went well. A row whose cases another run, or a report of several,
    has too is there once: where it has most seeds, else where it comes first."""
    found = []
    for run in runs:
        rows = rows_of(run.records)
        for row in rows:
            names = dict.fromkeys(r.runtime for one in row.good.values() for r in one.runtimes if r.status == "ok")
            found += [Found(run, row, dense_of(row, rows), name, batch) for name in names]
    return _each_once(found)


def _each_once(rows: Iterable[Found]) -> list[Found]:
    alike: dict[tuple[str, str, str, str], list[Found]] = {}
    for one in rows:
        alike.setdefault((one.row.net, one.row.dataset, one.row.chain, one.runtime), []).append(one)
    kept: list[Found] = []
    for group in alike.values():
        own: list[tuple[set[str], Found]] = []
        for one in sorted(group, key=lambda one: -len(one.good)):  # stable: the first of as many
            cases = {record.case_id for record, _ in one.good.values()}
            if not any(cases <= larger for larger, _ in own):
                own.append((cases, one))
        kept += [one for _, one in own]
    return kept
