"""What an ensemble adds over its best member, and over other rows of no more bytes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bench.records import RunRecord
from reports.cells import ratio
from reports.chains import named_chains, parse
from reports.pairing import (
    ALIKE,
    BETTER,
    WORSE,
    Row,
    code,
    compared,
    on_seeds,
    places_text,
    points,
    rests_on,
    rows_of,
    same_place,
    scored_alike,
    smaller_by,
    verdict,
)
from reports.roles import CONTROLS

ENSEMBLE_RULE = (
    "An ensemble adds something where the 95 % interval of the difference between it and its most accurate member, "
    "which has to be a row of this run, leaves zero out. For its bytes it pays where every single row with a file no "
    "larger than its own is less accurate beyond the interval; otherwise the most accurate one that is not is named."
)
_KEY = "of"  # the setting that names the members' chains


def members(row: Row, rows: Sequence[Row]) -> list[Row]:
    """The rows of this run that a row's last stage was put together of; empty of what is no ensemble."""
    _, settings = parse(row.chain)[-1]
    chains = named_chains(dict(settings).get(_KEY, ""))
    return [one for one in rows if one.chain in chains and same_place(one, row) and one.good and one.chain != row.chain]


def ensemble_sentences(records: Sequence[RunRecord]) -> list[str]:
    """A sentence for each ensemble of which a member is a row, by ENSEMBLE_RULE."""
    rows = rows_of(records)
    lines = []
    for row in rows:
        found = members(row, rows) if row.good else []
        if found and (best := max(found, key=_accuracy)) and compared(row, best):
            lines.append(_sentence(row, best, rows))
    return lines


def _sentence(row: Row, best: Row, rows: Sequence[Row]) -> str:
    gap = compared(row, best)
    if gap is None:
        return ""
    words = {
        BETTER: "is more accurate than its best member",
        WORSE: "is less accurate than its best member",
        ALIKE: "cannot be told apart from its best member",
    }
    singles = [one for one in rows if _single(one, row, rows)]
    equal = [one for one in singles if (other := compared(row, one)) and not other.better]
    if not singles:
        bytes_text = "no single row with a file no larger was measured with it"
    elif equal:
        rival = max(equal, key=_accuracy)
        smaller = ratio(smaller_by(rival, row))
        bytes_text = f"for its bytes it is not shown to pay against {code(rival)}, which is {smaller} smaller"
    else:
        bytes_text = f"for its bytes it pays: each of {len(singles)} single rows with files no larger is less accurate"
    rests = rests_on(row, best, *(equal or singles))
    factor = ratio(smaller_by(best, row))
    return (
        f"{places_text(row, rows)}{code(row)} {words[verdict(gap)]} {code(best)}, {points(gap)} points at {factor} its "
        f"bytes; {bytes_text}; {on_seeds(gap.seeds)} {rests}"
    )


def _single(one: Row, row: Row, rows: Sequence[Row]) -> bool:
    """Whether a row is no ensemble, no control but a small dense network, and no larger than `row`."""
    fits = one.role not in CONTROLS or one.role == "small"
    if not fits or not one.good or one.chain == row.chain or not same_place(one, row):
        return False
    return smaller_by(one, row) >= 1 and not members(one, rows)


def _accuracy(row: Row) -> float:
    scores = [found[0] for one in row.good.values() if (found := scored_alike([one]))]
    return fmean(one.correct / one.seen for one in scores) if scores else -1.0
