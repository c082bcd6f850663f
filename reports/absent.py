"""Which rows go without a control that rows like them have, told from the records alone.

A run makes the costly kinds for a limited number of rows (bench/controls.py), and a row may be left without for want of
a network of its bytes. Dense in another form and longer training are there for all rows, or a near one stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.records import Role, RunRecord
from reports.chains import parse, stage_texts
from reports.controls import matches
from reports.crowd import LISTED
from reports.pairing import Row, code, places_text, rows_of, same_place
from reports.roles import ASKED, WHAT, is_taught, serves_as
from reports.rows import DENSE

MADE_FOR_SOME = (
    "A run makes these kinds for a limited number of rows, spread evenly over them, and not where a method has none: "
    "type the others as rows of their own."
)


@dataclass(frozen=True)
class Absent:
    """A kind of control, the rows that could have one and do not, and how many could have one at all."""

    role: Role
    without: tuple[Row, ...]
    of: int


def absent(records: Sequence[RunRecord]) -> list[Absent]:
    """Each kind that some row goes without. Rows whose own control was refused or failed are told by that, not here."""
    rows = rows_of(records)
    asked = [row for row in rows if row.role == ASKED and row.chain != DENSE and row.good]
    found = []
    for role, (could, has) in _KINDS.items():
        could_have = [row for row in asked if not serves_as(row.records[0], role) and could(row)]
        tried = {(one.net, one.dataset, chain) for one in records if one.role == role for chain in one.control_of}
        having = has(records, rows)
        none = [one for one in could_have if not having(one) and (one.net, one.dataset, one.chain) not in tried]
        if none:
            found.append(Absent(role, tuple(none), len(could_have)))
    return found


def absent_lines(records: Sequence[RunRecord]) -> list[str]:
    """A line a kind, with the rows."""
    rows = rows_of(records)
    lines = []
    for one in absent(records):
        names = ", ".join(f"{places_text(row, rows)}{code(row)}" for row in one.without[:LISTED])
        more = f" and {len(one.without) - LISTED:,} more" if len(one.without) > LISTED else ""
        lines.append(
            f"{WHAT[one.role]}: none for {len(one.without):,} of the {one.of:,} rows that it is for: {names}{more}"
        )
    return lines


Has = Callable[[Row], bool]


def _matched(role: Role) -> Callable[[Sequence[RunRecord], Sequence[Row]], Has]:
    """Whether a row has a control of the kind that was trained."""

    def has(records: Sequence[RunRecord], rows: Sequence[Row]) -> Has:
        known = {_key(one.row) for one in matches(records, (role,)) if one.control}
        return lambda row: _key(row) in known

    return has


def _has_parts(records: Sequence[RunRecord], rows: Sequence[Row]) -> Has:
    """Whether each method of a chain is a row by itself."""

    def has(row: Row) -> bool:
        there = {one.chain for one in rows if same_place(one, row)}
        return all(text in there for text in stage_texts(row.chain))

    return has


def _key(row: Row) -> tuple[str, str, str]:
    return row.net, row.dataset, row.chain


def _settings(row: Row) -> Iterable[dict[str, str]]:
    return (dict(settings) for _, settings in parse(row.chain))


_KINDS: dict[Role, tuple[Callable[[Row], bool], Callable[[Sequence[RunRecord], Sequence[Row]], Has]]] = {
    "small": (lambda row: True, _matched("small")),
    "random": (lambda row: any(one.get("score", "random") != "random" for one in _settings(row)), _matched("random")),
    "untaught": (lambda row: any(is_taught(one) for one in _settings(row)), _matched("untaught")),
    "part": (lambda row: len(parse(row.chain)) > 1, _has_parts),
}
