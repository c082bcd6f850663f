"""Runs with more rows than can be read side by side: which rows are named then, and how the others are summed up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from bench.records import RunRecord
from reports.cells import counted, one_line, shortened
from reports.chains import methods, parse
from reports.roles import asked
from reports.rows import DENSE, first_scored
from reports.statistics import pareto_front
from reports.style import COLOURS, MARKERS, Look

CROWD = 25  # compressed rows, seeds not counted: with more, only the best are named and listed
LISTED = 25  # lines of a list in a crowd
NAMED = 3  # rows that are named where many share a reason
LABEL = 60  # characters of a row's name there


def is_crowd(records: Sequence[RunRecord]) -> bool:
    """Whether a run has more than CROWD rows that were asked for, seeds not counted."""
    return len(_chains(asked(records))) > CROWD


def front(records: Sequence[RunRecord]) -> list[str]:
    """The chains that no other beats in accuracy at fewer or the same bytes, both means over seeds; in rising bytes, of
    those that were asked for. Dense is not among them."""
    costs: dict[str, list[tuple[float, float]]] = {}
    for one in asked(records):
        result = first_scored(one)
        if one.status == "ok" and one.file_bytes > 0 and result and result.accuracy:
            found = (math.log(one.file_bytes), result.accuracy.correct / result.accuracy.seen)
            costs.setdefault(one.chain, []).append(found)
    chains = list(costs)
    means = [(fmean(cost for cost, _ in costs[c]), fmean(accuracy for _, accuracy in costs[c])) for c in chains]
    return [chains[index] for index in pareto_front(means) if chains[index] != DENSE]


def named(records: Sequence[RunRecord], most: int = CROWD) -> list[RunRecord]:
    """The records that a table or figure of a crowd shows: dense, and at most `most` chains evenly along the front; of
    a run without a front the first ones. All records where there is no crowd."""
    if not is_crowd(records):
        return list(records)
    best = front(records) or _chains(asked(records))[:most]
    step = max(1.0, (len(best) - 1) / max(1, most - 1))
    chosen = {best[min(round(k * step), len(best) - 1)] for k in range(min(most, len(best)))}
    return [one for one in asked(records) if one.chain == DENSE or one.chain in chosen]


def left_out(records: Sequence[RunRecord], shown: Sequence[RunRecord]) -> str:
    """What a crowd's table or figure leaves out, in words; empty where it leaves out nothing."""
    every, some = len(_chains(asked(records))), len(_chains(asked(shown)))
    if some == every:
        return ""
    where = "on the Pareto front of accuracy against file size" if front(records) else "the first ones"
    return f"{some} of {every} rows, {where}"


def listed(lines: Sequence[str], records: Sequence[RunRecord], where: str) -> list[str]:
    """The lines; in a crowd the first LISTED, and how many more there are, to be found `where`."""
    if not is_crowd(records) or len(lines) <= LISTED + 1:
        return list(lines)
    return [*lines[:LISTED], f"and {len(lines) - LISTED:,} more: {where}"]


def shared_reasons(records: Sequence[RunRecord]) -> list[str]:
    """A line for each reason of what went wrong, with how many rows share it and the first of them."""
    rows: dict[str, list[str]] = {}
    for one in records:
        if one.status != "ok":
            rows.setdefault(f"{one.status}: {one_line(one.reason)}", []).append(one.label)
        for result in one.runtimes if one.status == "ok" else ():
            if result.status != "ok":
                text = f"in {result.runtime}: {result.status}: {one_line(result.reason)}"
                rows.setdefault(text, []).append(one.label)
    lines = []
    for reason, labels in rows.items():
        different = list(dict.fromkeys(labels))
        first = ", ".join(shortened(label, LABEL) for label in different[:NAMED])
        more = ", ..." if len(different) > NAMED else ""
        lines.append(f"{reason} ({counted(len(labels), 'case')}: {first}{more})")
    return lines


def family(chain: str) -> str:
    """The methods of a chain without their settings."""
    return "+".join(methods(parse(chain)))


def family_looks(records: Sequence[RunRecord]) -> dict[str, Look]:
    """A look for each chain, the same for chains of the same methods; dense is a black star."""
    families = sorted({family(chain) for chain in _chains(records)})
    table = {f: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, f in enumerate(families)}
    return {DENSE: Look("#000000", "*")} | {chain: table[family(chain)] for chain in _chains(records)}


def _chains(records: Sequence[RunRecord]) -> list[str]:
    return list(dict.fromkeys(one.chain for one in records if one.chain != DENSE))
