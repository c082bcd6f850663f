"""What any two rows differ by in accuracy: computed here once, so that the page states no number of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from bench.records import RunRecord
from reports.hits import Score, score_of
from reports.marks import LEVEL, Marked, marked
from reports.moderation import Prior
from reports.paired_tests import p_value, prior_of
from reports.pairing import Row, compared, scored_alike
from reports.roles import asked

TESTED = 20_000  # pairs of a network: with more, only those are tested that the marks of the table rest on


def differences(rows: Sequence[Row], records: Sequence[RunRecord]) -> dict[str, Any]:
    """For each network and data set, in the order of `rows`, every pair (i < j) of its rows: accuracy of i less that of
    j in hundredths of a point, its 95 % interval, and the p-value of equal accuracy.

    Returns: {"level": of the corrected tests, "how": texts, "places": [{"rows": indices, "tests": how many pairs the
    marks rest on, and lists with a value a pair, row by row of the upper triangle, None where there is none}]}. Of the
    lists `side` is 1 or -1 where the interval lies above or below zero, else 0; `how` is a place in the texts; `apart`
    says whether the pair is told apart after the correction over all pairs of the marks, None of other pairs.
    """
    tests = {(one.net, one.dataset): one for one in marked(asked(records))}
    places: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        places.setdefault((row.net, row.dataset), []).append(index)
    texts: dict[str, int] = {}
    found = [
        _of_place([rows[i] for i in own], tests.get(place), texts) | {"rows": own} for place, own in places.items()
    ]
    return {"level": LEVEL, "how": list(texts), "places": found}


def _of_place(rows: Sequence[Row], tests: Marked | None, texts: dict[str, int]) -> dict[str, Any]:
    every = len(rows) * (len(rows) - 1) // 2 <= TESTED
    known = _prior(tests)
    corrected = {frozenset((one.first.chain, one.second.chain)): one for one in tests.pairs} if tests else {}
    columns: dict[str, list[Any]] = {name: [] for name in ("gap", "low", "high", "side", "how", "p", "apart")}
    for first, second in combinations(rows, 2):
        gap = compared(first, second)
        test = corrected.get(frozenset((first.chain, second.chain)))
        if gap is None:
            values: tuple[Any, ...] = (None,) * 7
        else:
            p = test.p_value if test else p_value(_scores(first, second), known) if every else None
            values = (
                *(hundredths(side) for side in (gap.mean, gap.low, gap.high)), int(gap.better) - int(gap.worse),
                texts.setdefault(gap.how, len(texts)),
                None if p is None else float(f"{p:.3g}"), int(test.apart) if test else None,
            )  # fmt: skip
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
    pairs = len(tests.pairs) if tests else 0
    return columns | {"tests": pairs}


def hundredths(difference: float) -> int:
    """A difference of fractions in hundredths of a percentage point, as `reports.pairing.points` rounds it."""
    return round(100 * float(f"{100 * min(1.0, max(-1.0, difference)):.2f}"))


def _prior(tests: Marked | None) -> Prior:
    """What the pairs that the marks rest on say together of a variance over seeds."""
    pairs = tests.pairs if tests else ()
    scores = [[(a.first.scores[s], a.second.scores[s]) for s in sorted(a.first.scores.keys() & a.second.scores.keys())]
              for a in pairs]  # fmt: skip
    return prior_of(scores, len({row.chain for one in pairs for row in (one.first, one.second)}))


def _scores(first: Row, second: Row) -> list[tuple[Score, Score]]:
    pairs = []
    for seed in first.seeds:
        if seed in second.good and (scores := scored_alike([first.good[seed], second.good[seed]])):
            pairs.append((score_of(first.good[seed], scores[0]), score_of(second.good[seed], scores[1])))
    return pairs
