"""The demands of the ShrinkBench checklist on what pruning is compared with: chance, and magnitude."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.records import RunRecord
from reports.cells import counted, shortened
from reports.chains import parse
from reports.pairing import Row, rows_of, same_place
from reports.roles import ASKED, is_of, serves_as

CRITERIA = 5  # rows of one score that have to have it, or all if they are fewer
_OWN_RATES = ("global", "normalized", "uniform")
_NONE = "nothing was pruned by a score"
Answer = tuple[bool | None, str]


def random_same_rates(records: Sequence[RunRecord]) -> Answer:
    """Random pruning with the layer-wise proportions of each score."""
    rows = [row for row in rows_of(records) if row.good]
    pruned = _pruned(rows)
    if not pruned:
        return None, _NONE
    short, texts = [], []
    for score, of in _by_score(pruned).items():
        for place in dict.fromkeys((row.net, row.dataset) for row in of):
            here = [row for row in of if (row.net, row.dataset) == place]
            has = [row for row in here if _beside(row, rows, lambda other, row: is_of(other, "random", row.chain))]
            where = f"{score} of {place[0]} on {place[1]}"
            texts.append(f"{where}: {len(has)} of {counted(len(here), 'row')}")
            short += [where] if len(has) < min(CRITERIA, len(here)) else []
    return not short, "; ".join(texts) + (f"; too few: {', '.join(short)}" if short else "")


def global_random(records: Sequence[RunRecord]) -> Answer:
    """Random pruning of its own proportions."""
    return _pruned_by("random", records, "prune:score=random")


def magnitude(records: Sequence[RunRecord]) -> Answer:
    """Magnitude pruning of its own proportions."""
    return _pruned_by("magnitude", records, "prune")


def magnitude_same_rates(records: Sequence[RunRecord]) -> Answer:
    """Magnitude pruning with the layer-wise proportions of each other score."""
    rows = [row for row in rows_of(records) if row.good]
    others = {score: of for score, of in _by_score(_pruned(rows)).items() if score != "magnitude"}
    if not others:
        return None, "no score but magnitude" if _pruned(rows) else _NONE
    missing = [score for score in others if not any(_has(row, "magnitude", (score,)) for row in rows)]
    evidence = f"scores: {', '.join(others)}"
    return not missing, evidence + "".join(f"; add prune:score=magnitude:rates={score}" for score in missing)


def _pruned_by(score: str, records: Sequence[RunRecord], add: str) -> Answer:
    rows = [row for row in rows_of(records) if row.good]
    pruned = _pruned(rows)
    if not pruned:
        return None, _NONE
    places = dict.fromkeys((row.net, row.dataset) for row in pruned)
    found = {place: [row for row in rows if (row.net, row.dataset) == place and _has(row, score)] for place in places}
    if all(found.values()):
        labels = dict.fromkeys(row.label for of in found.values() for row in of)
        return True, f"{counted(len(labels), 'row')}, first {shortened(next(iter(labels)), 50)}"
    return False, f"none: add {add}"


def _pruned(rows: Iterable[Row]) -> list[Row]:
    """The rows that were asked for and prune by a score that is not chance."""
    return [row for row in rows if row.role == ASKED and _scores(row) - {"random"} and not _is_random(row)]


def by_chance(row: Row) -> bool:
    """Whether a stage prunes at random, at whatever rates."""
    return "random" in _scores(row)


def _is_random(row: Row) -> bool:
    return serves_as(row.records[0], "random")


def _by_score(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        for score in sorted(_scores(row)):
            found.setdefault(score, []).append(row)
    return found


def _scores(row: Row) -> set[str]:
    return {value for _, settings in parse(row.chain) for key, value in settings if key == "score"}


def _has(row: Row, score: str, rates: Sequence[str] = _OWN_RATES) -> bool:
    """Whether a stage prunes by that score at such layer-wise rates."""
    stages = [dict(settings) for _, settings in parse(row.chain)]
    return any(one.get("score") == score and one.get("rates") in rates for one in stages)


def _beside(row: Row, rows: Iterable[Row], fits: Callable[[RunRecord, Row], bool]) -> bool:
    return any(fits(one.records[0], row) and same_place(one, row) and set(one.good) & set(row.good) for one in rows)
