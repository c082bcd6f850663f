"""The section of a report on controls: each row beside what it has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import RunRecord
from reports.absent import MADE_FOR_SOME, absent_lines
from reports.cells import MISSING, bytes_text, markdown, percent, pipe_table
from reports.controls import CONTROL_RULE, Match, epochs_of, matches, refused, size_text
from reports.crowd import LISTED, left_out, named
from reports.pairing import Row, code, places_text, points, rows_of, scored_alike, seeds_text
from reports.roles import CONTROLS, WHAT, asked, has_controls, labels_of
from reports.rows import DENSE

_HEADS = {
    "longer": "trained as long",
    "small": "small dense, same bytes",
    "random": "random, same rates",
    "half": "16 bits",
    "xz": "xz of dense",
    "untaught": "untaught",
}
_DASH = (
    f"{MISSING}: there is nothing to be held against (no epochs beyond dense's, nothing pruned by a score, no "
    "teacher), the row is such a control itself, or this run has none for it: such rows are named below the controls."
)
NONE = (
    "**This run has no controls** (`--no-controls`): nothing here says that a method does better than more training, a "
    "smaller network, or chance."
)


def controls_section(records: Sequence[RunRecord]) -> str:
    """The section as Markdown, said to be empty where a run has no controls."""
    if not has_controls(records):
        return f"## Controls\n\n{NONE}\n"
    parts = ["## Controls\n", _against(records), _measured(records)]
    lacking = absent_lines(records)
    if lines := [*_refused(records), *lacking]:
        parts += ["Controls that there are not:\n", "".join(f"- {line}\n" for line in lines)]
    if lacking:
        parts.append(f"{MADE_FOR_SOME}\n")
    return "\n".join(part for part in parts if part)


def _against(records: Sequence[RunRecord]) -> str:
    shown = named(asked(records))
    chosen = {(one.net, one.dataset, one.chain) for one in shown}
    found = [one for one in matches(records) if (one.row.net, one.row.dataset, one.row.chain) in chosen]
    kinds = [role for role in CONTROLS if any(one.role == role for one in found)]
    rows = list({id(one.row): one.row for one in found}.values())
    if not rows:
        return "No row has a control that was measured.\n"
    lines = []
    for row in rows:
        its = [one for one in found if one.row is row]
        cells = ["<br>".join(_cell(one) for one in its if one.role == role) or MISSING for role in kinds]
        lines.append([f"{places_text(row, rows)}{markdown(row.label)}", bytes_text(row.file_bytes), *cells])
    text = f"Of {rest}.\n\n" if (rest := left_out(asked(records), shown)) else ""
    intervals = "; ".join(dict.fromkeys(one.gap.how for one in found if one.gap))
    reading = (
        "Difference in accuracy, points: the row's less its control's, with its interval "
        f"({intervals or 'none'}), and what it says; with × how many times smaller the row's file is. {CONTROL_RULE}"
    )
    if any(MISSING in line for line in lines):
        reading += f" {_DASH}"
    head = ["method", "file", *(f"against {_HEADS[role]}" for role in kinds)]
    return f"{text}{pipe_table(head, lines)}\n{reading}\n"


def _cell(one: Match) -> str:
    note = f"<br>{markdown(one.note)}" if one.note else ""
    if one.gap is None:
        return one.verdict + note
    return f"{points(one.gap)}{size_text(one)}<br>**{one.verdict}**{note}"


def _measured(records: Sequence[RunRecord]) -> str:
    """The controls themselves: bytes, accuracy, extra epochs, and what they are controls of."""
    rows = rows_of(records)
    its = [row for role in CONTROLS for row in rows if row.role == role and row.good]
    labels = labels_of(records)
    lines = [_line(row, rows, labels) for row in its[:LISTED]]
    more = f"and {len(its) - LISTED:,} more: [table.md](table.md)\n" if len(its) > LISTED else ""
    if not lines:
        return ""
    head = ["control", "what it is", "of", "accuracy, %", "file", "extra epochs", "seeds"]
    return f"### The controls\n\n{pipe_table(head, lines, texts=3)}{more}"


def _line(row: Row, rows: Sequence[Row], labels: dict[str, str]) -> list[str]:
    scores = [one[0] for seed in row.seeds if (one := scored_alike([row.good[seed]]))]
    share = sum(one.correct for one in scores) / sum(one.seen for one in scores) if scores else None
    of = [f"`{labels.get(chain, chain)}`" for chain in row.control_of if chain != DENSE]
    whose = ", ".join(of[:3]) + (f" and {len(of) - 3} more" if len(of) > 3 else "")
    return [
        f"{places_text(row, rows)}{code(row)}", WHAT[row.role], whose or "all rows", percent(share),
        bytes_text(row.file_bytes), str(epochs_of(row)), str(len(row.seeds)),
    ]  # fmt: skip


def _refused(records: Sequence[RunRecord]) -> list[str]:
    lines = []
    for role, reason, of in refused(records):
        labels = ", ".join(dict.fromkeys(f"`{one.label}`" for one in of))
        lines.append(f"{WHAT[role]} ({labels}; {seeds_text(one.seed for one in of)}): {markdown(reason)}")
    return lines[:LISTED] + ([f"and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else [])
