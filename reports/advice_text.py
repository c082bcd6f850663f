"""An answer in words: the row, its figures, why it and not another, its file and the command that makes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.advice import (
    Answer,
    Condition,
    Rival,
    best_seed,
    excess,
    figure,
    rivals,
    standing_in_the_way,
    surely,
    worse_end,
)
from reports.advice_cells import NAMES, amount_text, named, with_interval
from reports.advice_nothing import nothing_text
from reports.advice_rows import Found
from reports.cells import bytes_text, counted, one_line, ratio
from reports.pairing import points, seeds_text
from reports.roles import WHAT

LEAST = {
    "size": "the smallest file", "drop": "the smallest drop", "latency": "the lowest latency",
    "params": "the fewest parameters", "macs": "the fewest multiply-accumulates", "memory": "the least memory",
}  # fmt: skip
_SHOWN = ("accuracy", "drop", "size", "latency", "memory", "params", "macs")
_COMMIT = 12  # characters of a commit
_EXACT = ("size", "params", "macs")  # of one seed, nothing about them is by chance
_RATIOS = {"size": ("smaller", "larger"), "latency": ("faster", "slower")}


@dataclass(frozen=True)
class Commands:
    """How rows are made, from the command that made a run; each gives an empty text where that is not understood."""

    row: Callable[[str, str, int], str]  # the run's command, a chain, a seed
    search: Callable[[str, str], str]  # the run's command, limits
    lies_there: Callable[[Path], bool] = Path.is_file


def advice_text(answers: Sequence[Answer], commands: Commands) -> str:
    """The answer; of several networks or data sets a shorter one each."""
    if len(answers) == 1:
        return _whole(answers[0], commands) if answers[0].best else nothing_text(answers[0], commands.search)
    parts = [_short(one, commands) if one.best else nothing_text(one, None) for one in answers]
    parts.append("Why, and what comes next: ask for one of these, by net=NAME or dataset=NAME among the limits.")
    return "\n\n".join(parts)


def _whole(answer: Answer, commands: Commands) -> str:
    best = answer.best
    assert best
    lines = [*_what_it_is(best), "", *_figures(best, answer), "", *_limits(answer), "", *_why(answer)]
    if beside := rivals(answer):
        head = (
            "Next best, which keep all limits too (accuracy less that of the answer; tests corrected for their number):"
        )
        lines += ["", head, *(f"  {_rival(one, answer)}" for one in beside)]
    return "\n".join([*lines, "", *_file(best, best_seed(answer), commands)])


def _short(answer: Answer, commands: Commands) -> str:
    best = answer.best
    assert best
    return "\n".join([*_what_it_is(best), *_limits(answer), *_file(best, best_seed(answer), commands)])


def _what_it_is(best: Found) -> list[str]:
    seeds = [one for one in best.row.records if one.seed not in best.good]
    lines = [f"{best.row.net} on {best.row.dataset}: {named(best)}", f"  of {best.run.folder}, {seeds_text(best.good)}"]
    if best.is_control:
        lines.append(
            f"  This is a control ({WHAT[best.row.role]}), there to be compared with: no row that was asked for "
            "comes before it."
        )
    if best.is_dense:
        lines.append("  This is the dense network itself: no compressed row that keeps the limits comes before it.")
    if seeds:
        lines.append(f"  It went wrong with {seeds_text(one.seed for one in seeds)}: {one_line(best.row.trouble)}")
    return lines


def _figures(best: Found, answer: Answer) -> list[str]:
    """What is known of the row, and how each limit is kept."""
    judged = {condition.quantity for condition in answer.question.conditions}
    lines = []
    for quantity in _SHOWN:
        found, beside = best.of(quantity), best.of(quantity, ratio=True) if quantity in _RATIOS else None
        if math.isnan(found.mean) and quantity not in judged:
            continue
        text = with_interval(quantity, found)
        if quantity == "drop" and not best.is_dense and not math.isnan(best.validation_drop()):
            text += f"; on validation data {best.validation_drop():.2f}"
        if quantity == "latency":
            text += f" at batch {best.batch}"
        if beside and beside.mean > 0 and not best.is_dense:
            more, less = _RATIOS[quantity]
            text += f", {ratio(max(beside.mean, 1 / beside.mean))} {more if beside.mean >= 1 else less} than dense"
        lines.append(f"  {NAMES.get(quantity, quantity):<11}{text}")
    return lines


def _limits(answer: Answer) -> list[str]:
    assert answer.best
    return ["Limits:", *(f"  {_verdict(condition, answer.best)}" for condition in answer.question.conditions)]


def _verdict(condition: Condition, one: Found) -> str:
    """How far a limit is kept."""
    found, sure = figure(condition, one), surely(condition, one)
    amount = amount_text(condition.quantity, found.mean, is_ratio=condition.ratio)
    if sure:
        return f"{condition.text}: kept, {amount}, by the worse end of the interval too"
    if sure is False:
        end = amount_text(condition.quantity, worse_end(condition, found), is_ratio=condition.ratio)
        text = f"{condition.text}: kept by the mean, {amount}; the worse end of the interval, {end}, does not keep it"
    else:
        text = f"{condition.text}: kept, {amount}"
        if condition.quantity not in _EXACT:
            text += "; two seeds bound nothing" if found.seeds == 2 else "; of one seed there is no interval"
    if condition.quantity == "drop" and one.validation_drop() > condition.value:
        text += f"; nor does validation data, {one.validation_drop():.2f} points"
    return text


def _why(answer: Answer) -> list[str]:
    best, question = answer.best, answer.question
    assert best
    all_of, rows = ", ".join(one.text for one in question.conditions), counted(len(answer.rows), "row")
    if len(answer.keeping) == 1:
        why = f"it is the only one of {rows} at hand (each a chain in one runtime) that keeps {all_of}"
    else:
        why = (
            f"it has {LEAST[question.least]} of the {len(answer.keeping):,} rows that keep {all_of}, out of {rows} at "
            "hand, each a chain in one runtime; of equal ones the faster comes first"
        )
    lines = [f"Why: {why}."]
    lines += [f"  {_binding(one, answer)}" for one in question.conditions]
    return lines + _warnings(answer)


def _binding(condition: Condition, answer: Answer) -> str:
    """What would come first without a limit and what misses it least, or that it holds nothing back."""
    kept_out = standing_in_the_way(condition, answer)
    if not kept_out:
        return f"{condition.text} holds nothing back: without it the answer is the same."
    first, closest = kept_out[0], min(kept_out, key=lambda one: excess(condition, one))
    text = f"{condition.text} keeps {counted(len(kept_out), 'chain')} back that would come before it: "
    text += f"first {_broken(condition, first, answer)}"
    return f"{text}; closest to the limit {_broken(condition, closest, answer)}" if closest is not first else text


def _broken(condition: Condition, one: Found, answer: Answer) -> str:
    """A row, what it has of a limit that it breaks, and of what is to be least."""
    amounts = [amount_text(condition.quantity, figure(condition, one).mean, is_ratio=condition.ratio)]
    least = answer.question.least
    if least != condition.quantity or condition.ratio:
        amounts.append(amount_text(least, one.of(least).mean))
    return f"{named(one)} ({', '.join(amounts)})"


def _warnings(answer: Answer) -> list[str]:
    """What a reader should know before trusting it."""
    best, lines = answer.best, []
    assert best
    judged = {one.quantity for one in answer.question.conditions}
    dense = best.dense and Found(best.run, best.dense, None, best.runtime, best.batch)
    other = max(
        (one for one in answer.rows if one.is_dense), key=lambda one: one.of("accuracy").mean, default=None
    )  # fmt: skip
    if "drop" in judged and dense and other and other.of("accuracy").low > dense.of("accuracy").high:
        lines.append(
            f"  Its drop is from a dense network of {dense.of('accuracy').mean:.2f} %; that of {other.run.folder} has "
            f"{other.of('accuracy').mean:.2f} %: name that run, or ask for accuracy>=..."
        )
    if judged & {"drop", "accuracy"} and len(answer.rows) > 1:
        lines.append(
            f"  It was picked by test accuracy among {counted(len(answer.rows), 'row')}: on new images it is likelier "
            "to lose more than its interval says."
        )
    return lines


def _rival(one: Rival, answer: Answer) -> str:
    """A next best row: by how much it comes after, and whether it is told apart in accuracy."""
    best = answer.best
    assert best
    least, found = answer.question.least, one.found
    own, first = found.of(least).mean, best.of(least).mean
    text = amount_text(least, own)
    if least != "drop" and first > 0 and math.isfinite(own):
        text += f" ({100 * (own / first - 1):+.1f} %)"
    kind = f" [control: {WHAT[found.row.role]}]" if found.is_control else ""
    if one.gap is None:
        return f"{named(found)}{kind}: {text}; accuracy: no seed in common"
    gap = f"accuracy {points(one.gap)} points"
    told = f"{gap}, told apart" if one.apart else f"{gap}: cannot be told apart"
    return f"{named(found)}{kind}: {text}; {told}"


def _file(best: Found, seed: int, commands: Commands) -> list[str]:
    one = best.row.good[seed]
    path = best.file_of(seed)
    of = f", seed {seed}: of its seeds the most accurate on validation data" if len(best.good) > 1 else f", seed {seed}"
    there = "" if commands.lies_there(path) else " (not there now: the command makes it again)"
    lines = [f"File: {path}{there}", f"  {bytes_text(one.file_bytes)}, sha256 {one.sha256}{of}"]
    if best.is_dense:
        lines.append("  It comes with every run: `half` is the row that costs least beside it.")
    commit = str(one.environment.get("commit", ""))[:_COMMIT]
    for typed in best.run.made_by(one):
        if made := commands.row(typed, best.row.label, seed):
            return [*lines, f"Command that makes it{f', at commit {commit}' if commit else ''}:", f"  {made}"]
    return [*lines, "Its run was made by a command that is not understood any more:", f"  {one_line(best.run.command)}"]
