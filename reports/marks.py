"""Which rows of a run can be told apart by their accuracy, and the marks that say so in its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean

from bench.intervals import holm
from bench.records import RunRecord
from reports.hits import Score, score_of
from reports.letters import letters
from reports.paired_tests import p_value, prior_of
from reports.rows import DENSE, Line, first_scored

LEVEL = 0.05  # the chance that any pair is told apart wrongly
LETTERED = 60  # rows: of more, each is held against the best and against dense only


@dataclass(frozen=True)
class Row:
    """One chain over its seeds, each in the first runtime that scored it."""

    chain: str
    label: str
    scores: dict[int, Score] = field(repr=False)  # by seed
    lines: tuple[Line, ...]  # the case and the runtime of each seed

    @property
    def share(self) -> float:
        """Mean accuracy over the seeds."""
        return fmean(one.share for one in self.scores.values())


@dataclass(frozen=True)
class Pair:
    """Two rows that were held against each other, the more accurate first."""

    first: Row
    second: Row
    p_value: float  # of equal accuracy, not corrected
    apart: bool  # after correction
    seeds: int  # that both have


@dataclass(frozen=True)
class Marked:
    """All rows of one network and data set, the most accurate first."""

    net: str
    dataset: str
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    lettered: bool  # otherwise rows were held against the best and against dense only
    texts: tuple[str, ...]  # the mark of each row

    @property
    def with_marks(self) -> list[tuple[Row, str]]:
        """Each row and its mark."""
        return list(zip(self.rows, self.texts, strict=True))


def marked(records: Sequence[RunRecord]) -> list[Marked]:
    """The rows of each network and data set with their marks, whatever the order of the records. A row alone has none.

    Rows share a letter exactly if they cannot be told apart: see `reports.letters`; the most accurate has an `a`. With
    more than LETTERED rows, or where the letters of the alphabet do not do, the mark says whether a row can be told
    apart from the most accurate one and from dense: `best`, `dense`, both or neither.
    """
    places: dict[tuple[str, str], dict[str, list[RunRecord]]] = {}
    for one in records:
        if one.status == "ok" and first_scored(one):
            places.setdefault((one.net, one.dataset), {}).setdefault(one.chain, []).append(one)
    return [_marked(*place, chains) for place, chains in sorted(places.items())]


def line_marks(found: Sequence[Marked]) -> dict[Line, str]:
    """The mark by case and runtime, of the lines of a table whose accuracy was compared."""
    return {line: text for one in found for row, text in one.with_marks for line in row.lines}


def _marked(net: str, dataset: str, chains: dict[str, list[RunRecord]]) -> Marked:
    rows = sorted((_row(found) for found in chains.values()), key=lambda row: (-row.share, row.chain))
    if len(rows) <= LETTERED:
        pairs = _tested(list(combinations(rows, 2)))
        texts = letters(_alike(rows, pairs)) if len(rows) > 1 else [""]
        if texts is not None:
            return Marked(net, dataset, tuple(rows), tuple(pairs), lettered=True, texts=tuple(texts))
    pairs = _tested(_against_two(rows))
    return Marked(net, dataset, tuple(rows), tuple(pairs), lettered=False, texts=tuple(_words(rows, pairs)))


def _row(found: Sequence[RunRecord]) -> Row:
    scores, lines = {}, []
    for one in sorted(found, key=lambda one: one.seed):
        result = first_scored(one)
        if result and result.accuracy:
            scores[one.seed] = score_of(one, result.accuracy)
            lines.append((one.case_id, result.runtime))
    return Row(found[0].chain, found[0].label, scores, tuple(lines))


def _tested(rows: Sequence[tuple[Row, Row]]) -> list[Pair]:
    """The pairs with their p-values, corrected for their number."""
    scores = [[(a.scores[s], b.scores[s]) for s in sorted(a.scores.keys() & b.scores.keys())] for a, b in rows]
    known = prior_of(scores, len({row.chain for pair in rows for row in pair}))
    p_values = [p_value(one, known) for one in scores]
    apart = holm(p_values, LEVEL)
    return [Pair(*pair, p_values[i], apart[i], len(scores[i])) for i, pair in enumerate(rows)]


def _alike(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[int]:
    places = {row.chain: index for index, row in enumerate(rows)}
    found = [0] * len(rows)
    for pair in pairs:
        if not pair.apart:
            one, other = places[pair.first.chain], places[pair.second.chain]
            found[one] |= 1 << other
            found[other] |= 1 << one
    return found


def _against_two(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Each row with the best, and with dense, the more accurate first, none twice."""
    dense = next((index for index, row in enumerate(rows) if row.chain == DENSE), 0)
    places = {(min(one, other), max(one, other)) for other in (0, dense) for one in range(len(rows)) if one != other}
    return [(rows[one], rows[other]) for one, other in sorted(places)]


def _words(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[str]:
    alike = {frozenset((pair.first.chain, pair.second.chain)) for pair in pairs if not pair.apart}
    alike |= {frozenset((row.chain,)) for row in rows}
    near = (("best", rows[0].chain), (DENSE, DENSE))
    return [", ".join(word for word, chain in near if frozenset((row.chain, chain)) in alike) for row in rows]
