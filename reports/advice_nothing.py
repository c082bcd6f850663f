"""What to say where no row keeps all limits: the nearest ones, and what to try."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from reports.advice import Answer, Condition, excess, figure, keeps, nearest
from reports.advice_cells import NAMES, amount_text, named, with_interval
from reports.advice_rows import Found
from reports.cells import counted

_SEARCHED = ("size", "latency", "drop", "params", "macs")


def nothing_text(answer: Answer, search: Callable[[str, str], str] | None) -> str:
    """Which row comes nearest to each limit; and what to try, where `search` gives the command of a search."""
    question = answer.question
    all_of = ", ".join(one.text for one in question.conditions)
    lines = [f"{answer.net} on {answer.dataset}: none of {counted(len(answer.rows), 'row')} keeps {all_of}."]
    lines += [f"  {_nearest(one, answer)}" for one in question.conditions]
    if search is None:
        return "\n".join(lines)
    return "\n".join([*lines, *_to_try(answer, search)])


def _nearest(condition: Condition, answer: Answer) -> str:
    """How many rows keep a limit; and the nearest that keeps all else, or as much as there is."""
    others = [one for one in answer.question.conditions if one is not condition]
    keeping = [one for one in answer.rows if keeps(condition, one)]
    head = f"{condition.text}: {len(keeping) or 'none'} of {len(answer.rows):,} keep{'s' * (len(keeping) < 2)} it"
    found, keeps_others = nearest(condition, answer)
    if found is None:
        return f"{head}: {NAMES.get(condition.quantity, condition.quantity)} was measured for no row."
    amount = with_interval(condition.quantity, figure(condition, found), is_ratio=condition.ratio)
    if keeps_others:
        of = "; of those that keep all else the nearest is" if others else "; the nearest is"
        return f"{head}{of} {named(found)} with {amount}."
    if keeping:
        found = min(keeping, key=lambda one: sum(excess(other, one) for other in others))
        return f"{head}; of these the nearest to the rest is {named(found)} with {_broken(others, found)}."
    return f"{head}; the nearest is {named(found)} with {amount}, and with {_broken(others, found)}."


def _broken(conditions: Sequence[Condition], one: Found) -> str:
    return ", ".join(
        f"{amount_text(each.quantity, figure(each, one).mean, is_ratio=each.ratio)} for {each.text}"
        for each in conditions
        if not keeps(each, one)
    )


def _to_try(answer: Answer, search: Callable[[str, str], str]) -> list[str]:
    """Commands and settings that may do better."""
    lines = ["To try:"]
    question, best_dense = answer.question, _dense(answer)
    judged = {one.quantity for one in question.conditions}
    limits = [one.text for one in question.conditions if one.quantity in _SEARCHED]
    for one in question.conditions:
        if one.quantity != "accuracy":
            continue
        room = best_dense.of("accuracy").mean - one.value if best_dense else math.nan
        if room < 0:
            lines.append(f"  the dense network itself has {best_dense.of('accuracy').mean:.2f} %: "  # type: ignore[union-attr]
                         "train it longer (--epochs), or take another network (--net)")  # fmt: skip
        elif "drop" not in judged and room >= 0:
            limits.append(f"drop<={room:.4g}")
    if any(limit.startswith("drop") for limit in limits):
        for typed in answer.rows[0].run.made_by(answer.rows[0].first)[:1]:
            if command := search(typed, ",".join(limits)):
                lines.append(f"  chains and settings that were not tried (needs the extra optuna):\n    {command}")
    measured = {one.runtime for one in answer.rows}
    if "latency" in judged and len(measured) == 1:
        lines.append(f"  another runtime: rows were timed in {measured.pop()} only (--runtimes, see --list)")
    lines.append("  a looser limit: the rows above say what it would take")
    return lines


def _dense(answer: Answer) -> Found | None:
    known = [one for one in answer.rows if one.is_dense and not math.isnan(one.of("accuracy").mean)]
    return max(known, key=lambda one: one.of("accuracy").mean, default=None)
