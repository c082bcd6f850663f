"""Which row keeps limits, from the records at hand: the first by one rule among those that keep them all.

A limit is kept where the mean over the seeds keeps it. Rows that were not asked for count as the others do. Nothing is
read off between rows: a row is the answer, or there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.intervals import holm
from reports.advice_rows import Found, all_rows
from reports.comparisons import Difference, paired
from reports.marks import LEVEL
from reports.paired_tests import Scores, p_value, prior_of
from reports.pairing import Range
from reports.run_folders import Run

RIVALS = 3  # next best rows that are named
_EXACT = 1e-9  # of a bound: what a sum of floats is off by
HIGHER_IS_BETTER = {"accuracy"}


class Condition(Protocol):
    """One limit that a row has to keep: at most so many bytes, seconds, points or counts, at least so many per cent of
    accuracy; or, where `ratio`, at least so many times smaller or faster than dense."""

    @property
    def quantity(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def ratio(self) -> bool: ...
    @property
    def text(self) -> str: ...


class Question(Protocol):
    """Which row is wanted: the limits, what is to be least among the rows that keep them, and where rows are from."""

    @property
    def conditions(self) -> Sequence[Condition]: ...
    @property
    def least(self) -> str: ...
    @property
    def places(self) -> Sequence[tuple[str, str]]: ...
    @property
    def batch(self) -> int: ...


@dataclass(frozen=True)
class Rival:
    """A row that keeps all limits too, beside the one that was chosen."""

    found: Found
    gap: Difference | None  # its accuracy less that of the chosen one; None without a seed in common
    apart: bool  # whether that is more than chance, corrected for the number of rivals


@dataclass(frozen=True)
class Answer:
    """What is at hand of one network and data set."""

    net: str
    dataset: str
    question: Question
    rows: tuple[Found, ...] = field(repr=False)  # all that were judged
    keeping: tuple[Found, ...]  # those that keep all limits, the best first

    @property
    def best(self) -> Found | None:
        return self.keeping[0] if self.keeping else None


def advise(runs: Sequence[Run], question: Question) -> list[Answer]:
    """An answer for each network and data set, those that have a row first.

    Raises:
        ValueError: no row is of a device, net, data set or runtime that the question names; the message says which
            there are.
    """
    rows = _meant(all_rows(runs, question.batch), question.places)
    places: dict[tuple[str, str], list[Found]] = {}
    for one in rows:
        places.setdefault((one.row.net, one.row.dataset), []).append(one)
    answers = []
    for (net, dataset), of in sorted(places.items()):
        keeping = [one for one in of if all(keeps(condition, one) for condition in question.conditions)]
        ranked = sorted(keeping, key=lambda one: rank(one, question))
        answers.append(Answer(net, dataset, question, tuple(of), tuple(ranked)))
    return sorted(answers, key=lambda one: one.best is None)


def figure(condition: Condition, one: Found) -> Range:
    """What the condition is about."""
    return one.of(condition.quantity, ratio=condition.ratio)


def keeps(condition: Condition, one: Found) -> bool:
    """Whether the mean keeps it; what is not known does not."""
    return _within(condition, figure(condition, one).mean)


def surely(condition: Condition, one: Found) -> bool | None:
    """Whether the worse end of the interval keeps it too; None where there is no interval to speak of."""
    found = figure(condition, one)
    worse = worse_end(condition, found)
    if one.is_dense and condition.quantity == "drop":
        return keeps(condition, one)
    return None if found.seeds == 2 or not math.isfinite(worse) else _within(condition, worse)


def worse_end(condition: Condition, found: Range) -> float:
    """The end of an interval that is further from what is wanted."""
    return found.low if at_least(condition) else found.high


def at_least(condition: Condition) -> bool:
    """Whether more is better."""
    return condition.ratio or condition.quantity in HIGHER_IS_BETTER


def excess(condition: Condition, one: Found) -> float:
    """How far beyond the limit: in points, or in doublings; infinite where it is not known."""
    mean = figure(condition, one).mean
    if math.isnan(mean):
        return math.inf
    if condition.quantity in ("drop", "accuracy"):
        beyond = condition.value - mean if at_least(condition) else mean - condition.value
    else:
        shares = (condition.value, mean) if at_least(condition) else (mean, condition.value)
        beyond = math.log2(shares[0] / shares[1]) if min(shares) > 0 else -math.inf
    return max(0.0, beyond)


def rank(one: Found, question: Question) -> tuple[float, ...]:
    """The rule: the least mean of what is to be least; of the same, as of one file in several runtimes, the fastest,
    then the most accurate."""
    return (_last(one.of(question.least).mean), _last(one.of("latency").mean), _last(-one.of("accuracy").mean))


def standing_in_the_way(condition: Condition, answer: Answer) -> list[Found]:
    """The rows that keep all limits but this one and would come before the best, each chain once, the best first."""
    others = [one for one in answer.question.conditions if one is not condition]
    found = [
        one for one in answer.rows if not keeps(condition, one) and all(keeps(other, one) for other in others)
        and (answer.best is None or rank(one, answer.question) < rank(answer.best, answer.question))
    ]  # fmt: skip
    return each_chain_once(sorted(found, key=lambda one: rank(one, answer.question)))


def nearest(condition: Condition, answer: Answer) -> tuple[Found | None, bool]:
    """The row that comes nearest to keeping a limit, and whether it keeps all others; None where the quantity was
    measured nowhere."""
    others = [one for one in answer.question.conditions if one is not condition]
    keeping = [one for one in answer.rows if all(keeps(other, one) for other in others)]
    for rows, keeps_others in ((keeping, True), (answer.rows, False)):
        known = [one for one in rows if math.isfinite(excess(condition, one))]
        if known:
            best = min(known, key=lambda one: (excess(condition, one), *rank(one, answer.question)))
            return best, keeps_others or not others
    return None, False


def rivals(answer: Answer, most: int = RIVALS) -> list[Rival]:
    """The next best rows of other chains, and the best control or the best row that was asked for if it is not among
    them, beside the chosen one; tested together."""
    best = answer.best
    if best is None:
        return []
    others = [one for one in each_chain_once(answer.keeping) if one.row.chain != best.row.chain]
    chosen = others[:most]
    counterparts = [one for one in others if one.is_control != best.is_control and not one.is_dense]
    if not any(one in chosen for one in counterparts):
        chosen += counterparts[:1]
    scores = [_pairs(one, best) for one in chosen]
    known = prior_of(scores, len(chosen) + 1)
    apart = holm([p_value(one, known) for one in scores], LEVEL)
    return [Rival(one, paired(of) if of else None, far) for one, of, far in zip(chosen, scores, apart, strict=True)]


def best_seed(answer: Answer) -> int:
    """Of the chosen row's files the one to take: of those that keep the limits on the file itself, the most accurate on
    validation data, which nothing else was chosen on."""
    best = answer.best
    assert best
    limits = [one for one in answer.question.conditions if one.quantity == "size" and not one.ratio]
    fit = [s for s, (one, _) in best.good.items() if all(_within(limit, one.file_bytes) for limit in limits)]
    validated = {seed: best.row.good[seed].validation_accuracy for seed in fit or best.good}
    return max(validated, key=lambda seed: (_known(validated[seed]), -seed))


def each_chain_once(rows: Iterable[Found]) -> list[Found]:
    """The first of each chain."""
    found: dict[str, Found] = {}
    for one in rows:
        found.setdefault(one.row.chain, one)
    return list(found.values())


def _within(condition: Condition, value: float) -> bool:
    slack = _EXACT * max(1.0, abs(condition.value))
    return value >= condition.value - slack if at_least(condition) else value <= condition.value + slack


def _pairs(one: Found, other: Found) -> Scores:
    own, theirs = one.scores, other.scores
    return [(own[seed], theirs[seed]) for seed in sorted(own.keys() & theirs.keys())]


def _known(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else value


_OF: dict[str, Callable[[Found], str]] = {
    "device": lambda one: one.device,
    "net": lambda one: one.row.net,
    "dataset": lambda one: one.row.dataset,
    "runtime": lambda one: one.runtime,
}


def _meant(rows: Sequence[Found], places: Sequence[tuple[str, str]]) -> list[Found]:
    """The rows of what is named: of `cuda` those of any GPU, of `mnist` those of `mnist:train=5000` too."""
    if not rows:
        raise ValueError("no row at hand went well: the reports of the runs say why")
    left = list(rows)
    for name, value in places:
        kept = [one for one in left if _OF[name](one) == value or _OF[name](one).split(":")[0] == value]
        if not kept:
            there = ", ".join(sorted({_OF[name](one) for one in left}))
            raise ValueError(f"no row at hand is of {name}={value}: there are {there}: ask for one of these, or run it")
        left = kept
    return left
