"""A comparison of two runs as a table: on the terminal, and as Markdown for a comment."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.cells import MISSING, bytes_text, counted, exact, markdown, pipe_table, rounded
from reports.comparisons import Difference
from reports.gate import Change, Compared, Comparison
from reports.pairing import points, seeds_text
from reports.roles import asked
from reports.rows import processes
from reports.run_folders import Run

_ALWAYS = ("accuracy", "size", "latency", "memory")  # others where they are held to a bound
_NAMES = {
    "size": "file", "latency": "latency / dense", "latency_b32": "latency / dense, batch 32", "memory": "peak memory",
    "latency_ms": "latency", "latency_ms_b32": "latency, batch 32", "params": "parameters", "macs": "MACs",
}  # fmt: skip
_STATES = {"compared": "ok", "missing": "MISSING", "failed": "FAILED", "new": "new", "trouble": "wrong in both"}
_SHOWN = 40  # rows on a terminal: of more, those that pass are left to the file
_NAMED = 3  # rows that are named where several have the same to be known
_WITHIN = "within noise"


def terminal_diff(comparison: Comparison, out: str) -> list[str]:
    """The changes as lines of text in columns, the names last as they are of any length; what fails stands first.

    out: where the whole table is written, if anywhere.
    """
    quantities = _quantities(comparison)
    rows = _failing_first(comparison)
    shown = rows[: max(_SHOWN, len(comparison.failing))]
    head = [
        "verdict",
        "accuracy, %",
        "change, points",
        *(_NAMES[quantity] for quantity in quantities),
        "runtime",
        "row",
    ]
    cells = [head]
    for row in shown:
        verdict = "FAILS" if row.findings and row.state == "compared" else _verdict(row)
        changes = [_percent(row.changes.get(quantity)) for quantity in quantities]
        cells.append([verdict, _levels("accuracy", row), _gap(row.accuracy), *changes, row.runtime or MISSING])
        cells[-1].append(_label(row, comparison))
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    texts = (0, len(head) - 2, len(head) - 1)
    lines = [
        "  ".join(f"{one:{'<' if k in texts else '>'}{widths[k]}}" for k, one in enumerate(line)).rstrip()
        for line in cells
    ]
    if len(rows) > len(shown):
        lines.append(
            f"{counted(len(rows) - len(shown), 'row')} more, none of which fails: {out or '--out FILE.md'} has all"
        )
    return lines


def findings_lines(comparison: Comparison, most: int | None = None) -> list[str]:
    """A line for each reason why a row fails (`most` at most), and one for each that is to be known of others."""
    lines = [f"FAILS {_named(row, comparison)}: {text}" for row in comparison.failing for text in _reasons(row)]
    if most and len(lines) > most:
        lines[most:] = [f"FAILS {len(lines) - most:,} times more: --out FILE.md has all"]
    others: dict[str, list[str]] = {}
    for row in comparison.rows:
        if not row.findings and row.reason:
            state = "" if row.state == "compared" else f"{_STATES[row.state].lower()}: "
            text = f"{'control ' * (row.is_control and row.state != 'compared')}{state}{row.reason}"
            others.setdefault(text, []).append(_named(row, comparison))
    for text, names in others.items():
        first = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        lines.append(f"{text} ({counted(len(names), 'row')}: {first})")
    return lines


def _named(row: Compared, comparison: Comparison) -> str:
    return f"{_label(row, comparison)}{f' in {row.runtime}' if row.runtime else ''}"


def result_line(comparison: Comparison) -> str:
    """Whether it passes, and by what."""
    held = [row for row in comparison.rows if row.state in ("compared", "missing", "failed") and not row.is_control]
    new = sum(row.state == "new" for row in comparison.rows)
    also = f"; {counted(new, 'new row')}" if new else ""
    limits = list(dict.fromkeys(bound.text for bound in comparison.bounds))
    if not comparison.failing:
        beyond = f"none beyond {', '.join(limits)}; " if limits else "no --fail-if; "
        return f"passes: {counted(len(held), 'row')} of OLD; {beyond}none missing or gone wrong{also}"
    states = [row.state for row in comparison.failing]
    parts = [f"{states.count(state)} {what}" for state, what in (("missing", "missing"), ("failed", "gone wrong"))  # type: ignore[arg-type]
             if state in states]  # fmt: skip
    for text in limits:
        if broken := sum(any(one.bound == text for one in row.findings) for row in comparison.failing):
            parts.append(f"{broken} beyond {text}")
    return f"FAILS: {len(states)} of {counted(len(held), 'row')} of OLD: {', '.join(parts)}{also}"


def places_lines(old: Run, new: Run) -> list[str]:
    """Where each run comes from, and in what they differ that numbers hang on."""
    lines = [f"{name} {run.folder}: {_made(run)}" for name, run in (("OLD", old), ("NEW", new))]
    differ = [key for key in ("cpu", "device", "threads") if _environment(old, key) != _environment(new, key)]
    if differ:
        what = ", ".join("processor" if key == "cpu" else key for key in differ)
        lines.append(f"The two differ in {what}: plain latency and memory are not alike, latency / dense may not be.")
    recipes = [
        {(one.net, one.dataset): one.recipe | {"processes": processes(run.records)} for one in asked(run.records)}
        for run in (old, new)
    ]
    for place in recipes[0].keys() & recipes[1].keys():
        ours, theirs = recipes[0][place], recipes[1][place]
        changed = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
        if changed:
            how = ", ".join(f"{key} {ours.get(key)} → {theirs.get(key)}" for key in changed)
            lines.append(f"{place[0]} on {place[1]} was trained otherwise: {how}.")
    return lines


def markdown_diff(comparison: Comparison, old: Run, new: Run) -> str:
    """The whole comparison as Markdown: the result, what fails, every row with its numbers in both runs."""
    quantities = _quantities(comparison)
    head = ["row", "runtime", "verdict", "seeds", "accuracy, %", "change, points (95 %)"]
    head += [_NAMES[quantity] for quantity in quantities]
    lines = []
    for row in _failing_first(comparison):
        name = f"**{markdown(_label(row, comparison))}**" if row.findings else markdown(_label(row, comparison))
        cells = [name, markdown(row.runtime or MISSING), markdown(_verdict(row)),
                 seeds_text(row.seeds).partition(" ")[2] if row.seeds else MISSING,
                 _levels("accuracy", row), _gap(row.accuracy)]  # fmt: skip
        lines.append(cells + [_whole(quantity, row) for quantity in quantities])
    parts = [f"**{markdown(result_line(comparison))}**", ""]
    parts += [f"- {markdown(line)}" for line in findings_lines(comparison)] or []
    parts += [""] if len(parts) > 2 else []
    parts += [
        pipe_table(head, lines, texts=3),
        *(f"{markdown(line)}  " for line in places_lines(old, new)),
        "",
        _RULE,
        "",
    ]
    return "\n".join(parts)


_RULE = (
    "Changes are NEW less OLD, means over the seeds that both have; intervals are of the paired difference, over the "
    "test images of one seed or over several seeds. Latency is a multiple of the dense network's, timed by turns in "
    "the same process. Controls fail nothing."
)


def _quantities(comparison: Comparison) -> list[str]:
    bounded = {bound.quantity for bound in comparison.bounds}
    measured = {name for row in comparison.rows for name in (*row.changes, *row.unmeasured)}
    return [name for name in _NAMES if name in measured and (name in _ALWAYS or name in bounded)]


def _failing_first(comparison: Comparison) -> list[Compared]:
    return sorted(comparison.rows, key=lambda row: (not row.findings, row.is_control))


def _label(row: Compared, comparison: Comparison) -> str:
    several = len({(one.net, one.dataset) for one in comparison.rows}) > 1
    return row.label + (f" ({row.net} on {row.dataset})" if several else "")


def _reasons(row: Compared) -> list[str]:
    """Why a row fails, with the numbers."""
    texts = []
    for one in row.findings:
        if one.reason:
            texts.append(f"{one.bound}: {one.reason}" if one.bound else one.reason)
        elif one.quantity == "accuracy":
            noise = f", {_WITHIN}" if _is_noise(row.accuracy) else ""
            texts.append(f"{one.bound}: {_levels(one.quantity, row)} %, {_points(row.accuracy)} points{noise}")
        else:
            texts.append(f"{one.bound}: {_whole(one.quantity, row)}")
    return [f"{text}; {row.reason}" if row.state == "compared" and row.reason else text for text in texts]


def _verdict(row: Compared) -> str:
    if row.findings and row.state == "compared":
        return "FAILS " + ", ".join(one.bound for one in row.findings)
    if row.is_control:
        return "control" if row.state == "compared" else f"control, {_STATES[row.state].lower()}"
    return _STATES[row.state]


def _is_noise(gap: Difference | None) -> bool:
    return gap is not None and not gap.better and not gap.worse


def _points(gap: Difference | None) -> str:
    if gap is None:
        return MISSING
    return f"{100 * gap.mean:+.2f} (two seeds bound nothing)" if gap.seeds == 2 else points(gap)


def _gap(gap: Difference | None) -> str:
    """A change of accuracy, and whether it is within its noise."""
    if gap is None or gap.seeds == 2:
        return _points(gap)
    if gap.mean == 0:
        return "0"
    return f"{_points(gap)}{f', {_WITHIN}' if _is_noise(gap) else ''}"


def _levels(quantity: str, row: Compared) -> str:
    change = row.changes.get(quantity)
    if change is None:
        return MISSING
    return f"{_amount(quantity, change.old)} → {_amount(quantity, change.new)}"


def _whole(quantity: str, row: Compared) -> str:
    if quantity in row.unmeasured:
        return "not measured in NEW"
    if quantity not in row.changes:
        return MISSING
    if row.state == "new":
        return _levels(quantity, row)
    unstable = ", timing unstable" if row.unstable and quantity.startswith("latency") else ""
    return f"{_levels(quantity, row)} ({_percent(row.changes[quantity])}{unstable})"


def _percent(change: Change | None) -> str:
    if change is None or math.isnan(change.percent):
        return MISSING
    if change.percent == 0:
        return "0 %"
    if math.isinf(change.percent):
        return "from 0"
    return f"{change.percent:+.{1 if abs(change.percent) >= 0.1 else 3}f} %"


def _amount(quantity: str, value: float) -> str:
    if math.isnan(value):
        return MISSING
    if quantity == "accuracy":
        return f"{value:.2f}"
    if quantity in ("size", "memory"):
        return bytes_text(value)
    if quantity.startswith("latency_ms"):
        return f"{rounded(1000 * value)} ms"
    return f"{rounded(value)}×" if quantity.startswith("latency") else exact(value)


def _environment(run: Run, key: str) -> object:
    value = run.records[0].environment.get(key)
    return value.get("model") if key == "cpu" and isinstance(value, dict) else value


def _made(run: Run) -> str:
    """Commit, day and machine of a run's first record."""
    held: Sequence[str] = [
        f"commit {str(run.records[0].environment.get('commit', 'unknown'))[:12]}",
        str(run.records[0].environment.get("date", ""))[:10],
        f"{_environment(run, 'device') or 'cpu'}",
        str(_environment(run, "cpu") or ""),
    ]
    return ", ".join(one for one in held if one)
