"""Two runs row by row: what changed from OLD to NEW, how much of it is noise, and whether it is beyond given bounds.

Rows are the same where network, data set, chain and runtime are; a change is the mean over the seeds that both have, of
each seed's own change. Latency is held beside that of the dense network, timed by turns in the same process, since
machines differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal, Protocol

from bench.intervals import holm
from bench.records import RunRecord, RuntimeResult
from reports.cells import one_line
from reports.comparisons import Difference, paired
from reports.hits import Score, score_of
from reports.marks import LEVEL
from reports.paired_tests import p_value, prior_of
from reports.pairing import seeds_text
from reports.roles import ASKED
from reports.rows import DENSE, find, middle, unstable

Measured = tuple[RunRecord, RuntimeResult]
# "compared": in both; "missing" and "failed": well in OLD and not in NEW; "new": not well in OLD, or not there;
# "trouble": well in neither
State = Literal["compared", "missing", "failed", "new", "trouble"]


class Bound(Protocol):
    """A change that fails the comparison, in points of accuracy, per cent, or bytes, seconds, a count."""

    @property
    def quantity(self) -> str: ...
    @property
    def percent(self) -> bool: ...
    @property
    def significantly(self) -> bool: ...
    @property
    def text(self) -> str: ...
    def broken_by(self, change: float, /) -> bool: ...


@dataclass(frozen=True)
class Change:
    """One quantity of a row, means over the seeds that both runs have."""

    old: float  # per cent of accuracy, bytes, seconds, counts, or times of dense
    new: float
    difference: float  # NEW less OLD
    percent: float  # of OLD, from the geometric mean of the seeds' ratios


@dataclass(frozen=True)
class Finding:
    """Why a row fails the comparison."""

    bound: str  # as it was typed; empty where the row is gone or went wrong
    quantity: str = ""
    reason: str = ""  # other than the change itself


@dataclass(frozen=True)
class Compared:
    """One row of one runtime, in OLD, NEW or both."""

    net: str
    dataset: str
    chain: str
    label: str
    runtime: str
    is_control: bool  # asked for in neither run: it is shown, and not held to the bounds
    state: State
    seeds: tuple[int, ...] = ()  # that both have
    reason: str = ""  # of what is missing or went wrong; of a compared row seeds that only one run has
    changes: Mapping[str, Change] = field(default_factory=dict)  # of a new row what it has, the rest not a number
    unmeasured: tuple[str, ...] = ()  # quantities that OLD has and NEW has not
    scores: tuple[tuple[Score, Score], ...] = field(default=(), repr=False)  # NEW and OLD
    accuracy: Difference | None = None  # NEW less OLD
    significant: bool = False  # whether accuracy changed by more than chance, corrected for the number of rows
    unstable: bool = False  # whether a latency's samples spread widely in one of the runs
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """All rows, in the order of OLD, new ones at the end."""

    rows: tuple[Compared, ...]
    bounds: tuple[Bound, ...]

    @property
    def failing(self) -> list[Compared]:
        return [one for one in self.rows if one.findings]


def compare(old: Sequence[RunRecord], new: Sequence[RunRecord], bounds: Sequence[Bound] = ()) -> Comparison:
    """What changed, and which rows fail: those beyond a bound, and those that were asked for and are gone or went wrong
    since. Controls are shown beside and fail nothing.

    Raises:
        ValueError: the runs have no network and data set in common, or no row of OLD has what a bound is about.
    """
    _check_places(old, new)
    found = _told_apart([_row(key, old, new) for key in _keys(old, new)])
    both = [one for one in found if one.state == "compared"]
    for bound in bounds:
        if both and not any(bound.quantity in one.changes or bound.quantity in one.unmeasured for one in both):
            raise ValueError(f"{bound.text} cannot be held: OLD has no {bound.quantity} of a row that NEW has too")
    return Comparison(tuple(replace(one, findings=_findings(one, bounds)) for one in found), tuple(bounds))


def _check_places(old: Sequence[RunRecord], new: Sequence[RunRecord]) -> None:
    places = [dict.fromkeys(f"{one.net} on {one.dataset}" for one in side) for side in (old, new)]
    if not places[0].keys() & places[1].keys():
        raise ValueError(f"nothing in common: OLD is {', '.join(places[0])}, NEW is {', '.join(places[1])}")


Key = tuple[str, str, str, str]  # network, data set, chain, runtime


def _keys(old: Sequence[RunRecord], new: Sequence[RunRecord]) -> list[Key]:
    """All rows; a case that went wrong as a whole is in each runtime that its chain was tried in, or in none."""
    runtimes: dict[tuple[str, str, str], dict[str, None]] = {}
    for one in (*old, *new):
        names = runtimes.setdefault((one.net, one.dataset, one.chain), {})
        names |= dict.fromkeys(result.runtime for result in one.runtimes)
    return [(*place, name) for place, names in runtimes.items() for name in names or {"": None}]


def _row(key: Key, old: Sequence[RunRecord], new: Sequence[RunRecord]) -> Compared:
    of_old, of_new = ([one for one in side if (one.net, one.dataset, one.chain) == key[:3]] for side in (old, new))
    label = (of_new or of_old)[0].label
    control = all(one.role != ASKED for one in (*of_old, *of_new))
    (well, wrong), (well_now, wrong_now) = _side(of_old, key[3]), _side(of_new, key[3])
    both = tuple(sorted(well.keys() & well_now.keys()))
    row = Compared(*key[:3], label, key[3], control, "compared", both)
    if not well:
        if not well_now:
            what = "; ".join(
                f"{name}: {next(iter(of.values()))}" for name, of in (("OLD", wrong), ("NEW", wrong_now)) if of
            )
            return replace(row, state="trouble", reason=what)
        before = next((f"in OLD {text}" for text in wrong.values()), "")
        return replace(row, state="new", reason=before, changes=_alone(well_now))
    if now_wrong := [wrong_now[seed] for seed in sorted(well.keys() & wrong_now.keys())]:
        return replace(row, state="failed", reason=now_wrong[0])
    if not both:
        return replace(row, state="missing", reason=_why_missing(row, well, well_now, new))
    return _with_changes(row, well, well_now)


def _side(records: Sequence[RunRecord], runtime: str) -> tuple[dict[int, Measured], dict[int, str]]:
    """By seed: what went well in a runtime, and why what did not did not."""
    well: dict[int, Measured] = {}
    wrong: dict[int, str] = {}
    for one in records:
        result = next((result for result in one.runtimes if result.runtime == runtime), None)
        if one.status != "ok":
            wrong[one.seed] = one_line(f"{one.status}: {one.reason}")
        elif result and result.status != "ok":
            wrong[one.seed] = one_line(f"{result.status}: {result.reason}")
        elif result:
            well[one.seed] = (one, result)
    return well, wrong


def _why_missing(
    row: Compared, well: Mapping[int, Measured], now: Mapping[int, Measured], new: Sequence[RunRecord]
) -> str:
    if now:
        return f"no seed in common: {seeds_text(well)} in OLD, {seeds_text(now)} in NEW"
    alike = [one for one in new if (one.net, one.dataset, one.label) == (row.net, row.dataset, row.label)]
    if alike and alike[0].chain != row.chain:
        return f"NEW has `{row.label}` with other settings: `{alike[0].chain}`"
    return "not in NEW"


def _level(one: Measured, quantity: str) -> float:
    return _LEVELS[quantity](*one)


def _share(one: RunRecord, result: RuntimeResult) -> float:
    counted = result.accuracy
    return 100 * counted.correct / counted.seen if counted and counted.seen else math.nan


def _latency(batch: int) -> Callable[[RunRecord, RuntimeResult], float]:
    return lambda one, result: middle(find(result.measurements, "latency", batch))


def _of_dense(batch: int) -> Callable[[RunRecord, RuntimeResult], float]:
    def times(one: RunRecord, result: RuntimeResult) -> float:
        dense = middle(find(result.dense_measurements, "latency", batch))
        return _latency(batch)(one, result) / dense if dense > 0 and one.chain != DENSE else math.nan

    return times


_LEVELS: dict[str, Callable[[RunRecord, RuntimeResult], float]] = {
    "accuracy": _share,
    "size": lambda one, result: one.file_bytes or math.nan,
    "latency": _of_dense(1),
    "latency_b32": _of_dense(32),
    "latency_ms": _latency(1),
    "latency_ms_b32": _latency(32),
    "memory": lambda one, result: middle(find(result.measurements, "peak_memory")),
    "params": lambda one, result: one.parameters,
    "macs": lambda one, result: one.macs,
}


def _with_changes(row: Compared, well: Mapping[int, Measured], now: Mapping[int, Measured]) -> Compared:
    changes, unmeasured = {}, []
    for name in _LEVELS:
        levels = [(_level(well[seed], name), _level(now[seed], name)) for seed in row.seeds]
        pairs = [(a, b) for a, b in levels if math.isfinite(a) and math.isfinite(b)]
        if len(pairs) < sum(math.isfinite(a) for a, _ in levels):
            unmeasured.append(name)
        elif pairs:
            changes[name] = _change(pairs)
    scores = [(score_of(now[s][0], b), score_of(well[s][0], a)) for s in row.seeds
              if (a := well[s][1].accuracy) and (b := now[s][1].accuracy) and a.seen and b.seen]  # fmt: skip
    only = [f"{seeds_text(mine.keys() - theirs.keys())} only in {name}" for name, mine, theirs in
            (("OLD", well, now), ("NEW", now, well)) if mine.keys() - theirs.keys()]  # fmt: skip
    timed = [find(side[seed][1].measurements, "latency", 1) for side in (well, now) for seed in row.seeds]
    return replace(
        row,
        reason="; ".join(only),
        changes=changes,
        unmeasured=tuple(unmeasured),
        scores=tuple(scores),
        accuracy=paired(scores) if scores else None,
        unstable=any(one and unstable(one) for one in timed),
    )


def _alone(now: Mapping[int, Measured]) -> dict[str, Change]:
    """What a row has that is in NEW only."""
    levels = {name: [x for one in now.values() if math.isfinite(x := _level(one, name))] for name in _LEVELS}
    return {name: Change(math.nan, fmean(found), math.nan, math.nan) for name, found in levels.items() if found}


def _change(pairs: Sequence[tuple[float, float]]) -> Change:
    old, new = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
    if all(a > 0 and b > 0 for a, b in pairs):
        percent = 100 * math.expm1(fmean(math.log(b / a) for a, b in pairs))
    else:
        percent = 0.0 if old == new else math.copysign(math.inf, new - old)
    return Change(old, new, fmean(b - a for a, b in pairs), percent)


def _told_apart(rows: Sequence[Compared]) -> list[Compared]:
    """The rows with whether their accuracy changed by more than chance, corrected for all that are held to bounds."""
    tested = [index for index, one in enumerate(rows) if one.scores and not one.is_control]
    known = prior_of([rows[index].scores for index in tested], len(tested) + 1)
    apart = dict(zip(tested, holm([p_value(rows[index].scores, known) for index in tested], LEVEL), strict=True))
    return [replace(one, significant=apart.get(index, False)) for index, one in enumerate(rows)]


def _findings(row: Compared, bounds: Sequence[Bound]) -> tuple[Finding, ...]:
    if row.is_control:
        return ()
    if row.state in ("missing", "failed"):
        return (Finding("", reason=row.reason),)
    found = []
    for bound in bounds:
        change = row.changes.get(bound.quantity)
        if bound.quantity in row.unmeasured:
            found.append(Finding(bound.text, bound.quantity, "measured in OLD, and not in NEW"))
        elif not change or (bound.significantly and not row.significant):
            continue
        elif bound.broken_by(change.percent if bound.percent else change.difference):
            found.append(Finding(bound.text, bound.quantity))
    return tuple(found)
