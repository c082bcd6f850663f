"""What the page embeds, once, as compact JSON: rows, lines, cases and comparisons. A pure function of records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.records import RunRecord
from reports.crowd import family
from reports.html.columns import Column, columns_of
from reports.html.commands import row_command, typed_commands
from reports.html.details import Texts, case_of
from reports.html.differences import differences
from reports.html.lines import Line, lines_of
from reports.ledger import PARTS
from reports.pairing import Row, rows_of
from reports.roles import labels_of, role_text
from reports.rows import by_place, dense_first

# Layers of each ledger that are shown: all tensors, then each layer as one line, then the largest only, then none. The
# first that keeps the page small enough is taken.
STEPS: tuple[int | None, ...] = (None, 1_000_000, 40, 12, 3, 1)


@dataclass(frozen=True)
class Page:
    """What the page shows; `columns` have what JSON cannot hold."""

    rows: list[Row]
    lines: list[Line]
    columns: list[Column]
    commands: list[str]  # of each row

    @property
    def places(self) -> list[str]:
        """Networks with their data sets, in the order of the rows."""
        return list(dict.fromkeys(place_of(row) for row in self.rows))


def page_of(records: Sequence[RunRecord], command: str) -> Page:
    """The rows of a run, network by network, dense first, controls last; their lines and commands."""
    ordered = in_order(records)
    rows = rows_of(ordered)
    lines = lines_of(rows, ordered)
    typed = typed_commands(command)
    return Page(rows, lines, columns_of(lines), [row_command(row.records[0], typed) for row in rows])


def in_order(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Network by network: the dense one, what was asked for, what stands beside it."""
    return [one for found in by_place(records).values() for one in dense_first(found)]


def place_of(row: Row) -> str:
    """A row's network and data set, in words."""
    return f"{row.net} on {row.dataset}"


def data_of(page: Page, records: Sequence[RunRecord], layers: int | None = None) -> dict[str, Any]:
    """The data of the page's scripts. layers: see `reports.html.details.case_of`."""
    texts, ordered = Texts(), in_order(records)
    chains = {(row.net, row.dataset, row.chain): index for index, row in enumerate(page.rows)}
    by_case: dict[str, list[Line]] = {}
    for line in page.lines:
        by_case.setdefault(line.case_id, []).append(line)
    labels = labels_of(ordered)
    cases = [
        case_of(one, chains[one.net, one.dataset, one.chain], by_case.get(one.case_id, []), texts, layers=layers)
        for one in ordered
    ]
    rows = [
        {
            "label": row.label, "chain": row.chain, "place": page.places.index(place_of(row)), "role": row.role,
            "control": role_text(row.records[0], labels), "family": family(row.chain), "command": command,
            "of": [chains[place] for chain in row.control_of if (place := (row.net, row.dataset, chain)) in chains],
        }
        for row, command in zip(page.rows, page.commands, strict=True)
    ]  # fmt: skip
    return {
        "places": page.places, "columns": [_column(one) for one in page.columns], "rows": rows,
        "lines": [_line(one, page.columns) for one in page.lines], "cases": cases,
        "parts": [text for text, _ in PARTS.values()], "whole": layers is None,
        "differences": differences(page.rows, ordered), "texts": texts.all,
    }  # fmt: skip


def json_text(data: dict[str, Any]) -> str:
    """Compact JSON; the same data give the same text."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _column(one: Column) -> dict[str, Any]:
    return {
        "key": one.key, "head": one.head, "unit": one.unit, "factor": one.factor, "help": one.help,
        "better": one.better, "log": one.log,
    }  # fmt: skip


def _line(one: Line, columns: Sequence[Column]) -> dict[str, Any]:
    shown = {column.key for column in columns}
    return {
        "row": one.row, "case": one.case_id, "seed": one.seed, "runtime": one.runtime, "status": one.status,
        "reason": one.reason, "seeds": one.seeds, "mark": one.texts["mark"],
        "numbers": [one.numbers.get(column.key) for column in columns],
        "bars": {name: list(bar) for name, bar in one.bars.items() if name in shown},
    }  # fmt: skip
