"""The section "Why is it not faster?" of the page, and its columns of table.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from bench.records import RunRecord
from reports import theory
from reports.cells import counted, markdown, pipe_table, ratio
from reports.crowd import is_crowd, left_out, listed, named
from reports.promised import Compared, compared, told
from reports.reasons import APART, RULES, Reason, reasons

HEAD = (
    "method", "runtime", "batch", "by MACs", "without zeros", "by width", "by bytes", "promised", "measured", "kernels",
)  # fmt: skip
HOW = (
    "What a row could gain, beside what was measured. *By MACs*: dense multiply-accumulates / its own; *without "
    "zeros*: those whose weight is zero left out. *By width*: bits of what the dense network's kernels multiply / of "
    "its own (int8 4× float32), over the calls that ran. *By bytes*: dense bytes of weights / its own, as dense codes "
    "or as non-zeros with a bit for each place, whichever is less. *Promised* is the larger of *without zeros* × *by "
    "width* and *by bytes*. *Kernels* are those that multiply, with their calls in one pass, as the runtime itself "
    "reports them.\n"
)


def reasons_section(records: Sequence[RunRecord]) -> str:
    """A line for each row, runtime and batch size, and the reasons where promised and measured differ; "" for records
    from before any of it was recorded."""
    rows = _of_first_seeds(records)
    if not rows:
        return ""
    shown = named(records)
    listed_rows = [row for row in rows if row.record in shown]
    parts = ["## Why is it not faster?\n", HOW]
    if len({row.record.seed for row in compared(records)}) > 1:
        parts.append("Of each row the first seed is shown; of all: [table.csv](table.csv).\n")
    if text := left_out(records, shown):
        parts.append(f"Shown are {text}. All rows: [table.csv](table.csv).\n")
    parts.append(pipe_table(HEAD, [_cells(row) for row in listed_rows], texts=2))
    lines = listed(_lines(listed_rows), records, "[table.csv](table.csv)")
    parts.append(f"### Where promised and measured differ by more than {APART:g}×\n")
    if is_crowd(records):
        parts.append(_by_rule(rows))
    parts.append("".join(f"- {line}\n" for line in lines) or "Nowhere.\n")
    return "\n".join(parts)


def with_reasons(table: pd.DataFrame, records: Sequence[RunRecord]) -> pd.DataFrame:
    """`frame(records)` with the promised speed-up and, by batch size, why the measured one differs from it."""
    promised: dict[tuple[str, str], float] = {}
    why: dict[tuple[str, str, int], str] = {}
    for row in compared(records):
        place = row.record.case_id, row.result.runtime
        promised[place] = row.promised
        why[*place, row.batch] = "; ".join(one.words for one in reasons(row))
    places = list(zip(table["case_id"], table["runtime"], strict=True))
    return table.assign(
        promised_speedup=pd.array([promised.get(place) for place in places], dtype="Float64"),
        why_b1=[why.get((*place, 1), "") for place in places],
        why_b32=[why.get((*place, 32), "") for place in places],
    )


def _of_first_seeds(records: Sequence[RunRecord]) -> list[Compared]:
    first: dict[tuple[str, str, str], int] = {}
    found = []
    for row in compared(records):
        one = row.record
        if first.setdefault((one.net, one.dataset, one.chain), one.seed) == one.seed:
            found.append(row)
    return found


def _cells(row: Compared) -> list[str]:
    one, dense = row.record, row.dense
    factors = (
        theory.by_macs(one, dense), theory.by_nonzero_macs(one, dense), row.gain, row.bytes, row.promised, row.measured,
    )  # fmt: skip
    return [
        markdown(one.label), markdown(row.result.runtime), str(row.batch), *(ratio(factor) for factor in factors),
        markdown(told(row.result.kernel_counts)),
    ]  # fmt: skip


def _lines(rows: Sequence[Compared]) -> list[str]:
    """For each row and runtime its speed-ups that are off, and below them the reasons, a line each; a reason that holds
    at some of those batch sizes only says at which."""
    off: dict[tuple[str, str, str], list[tuple[Compared, list[Reason]]]] = {}
    for row in rows:
        if found := reasons(row):
            off.setdefault((row.record.case_id, row.record.label, row.result.runtime), []).append((row, found))
    return [_line(label, runtime, of) for (_, label, runtime), of in off.items()]


def _line(label: str, runtime: str, off: Sequence[tuple[Compared, list[Reason]]]) -> str:
    speeds = ", ".join(
        f"{ratio(row.measured)} of the promised {ratio(row.promised)} at batch {row.batch}" for row, _ in off
    )
    batches: dict[Reason, list[int]] = {}
    for row, found in off:
        for one in found:
            batches.setdefault(one, []).append(row.batch)
    lines = [f"`{label}` in {markdown(runtime)}: {speeds}"]
    for one, of in batches.items():
        where = f"batch {of[0]}: " if len(of) < len(off) else ""
        numbers = f": {markdown(one.numbers)}" if one.numbers else ""
        lines.append(f"  - {where}**{markdown(one.head)}**{numbers}")
    return "\n".join(lines)


def _by_rule(rows: Sequence[Compared]) -> str:
    """How many rows each rule holds for, over all rows: a row in one runtime at one batch size is one."""
    counts = Counter(one.rule for row in rows for one in reasons(row))
    rules = "".join(f"- {text}: {counts[rule]} of {len(rows)}\n" for rule, text in RULES.items() if counts[rule])
    return f"Over {counted(len(rows), 'timing')} of all rows:\n\n{rules}\nOf the rows shown:\n"
