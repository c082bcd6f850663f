"""report.md: one page that ties a run together. Every fact on it comes from the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from bench.records import RunRecord
from reports.agreement import real_against_simulated
from reports.cells import counted, markdown, one_line, percent, rounded
from reports.chains_page import chains_section
from reports.checklist_page import checklist_section
from reports.controls_page import controls_section
from reports.crowd import LISTED, is_crowd, left_out, listed, named, shared_reasons
from reports.figures import name_of
from reports.findings import behind_dense, cannot_be_told_apart, drifting, reasons, unstable_timings
from reports.ledger import ledger_section
from reports.marks import line_marks, marked
from reports.pairs_page import pairs_section, seeds_bound
from reports.reasons_page import reasons_section
from reports.roles import ASKED, WHAT, asked, beside
from reports.rows import DENSE, by_place, dense_first, extra_epochs, frame, processes, recipes, several_seeds, summary
from reports.steps_page import steps_section
from reports.sweep_page import sweep_section
from reports.table import markdown_summary, markdown_table
from reports.takeaways import takeaways_section

MOST_SIDE_BY_SIDE = 12  # texts of a fact that differs between records
CAPTIONS = {
    "accuracy_size": "Accuracy against file size",
    "accuracy_latency": "Accuracy against latency, batch 1, in each runtime",
    "layer_bytes": "Bytes per layer",
    "byte_parts": "Where the bytes are",
    "training_curves": "Training curves",
}


def page(records: Sequence[RunRecord], *, title: str, command: str, choice: str = "") -> str:
    """The page as Markdown; figures are expected in `figures/`, tables beside it. choice: section on how the chains
    were chosen."""
    own = asked(records)
    shown, marks = named(own), marked(own)
    table = frame(shown, line_marks(marks))
    parts = [f"# {markdown(title)}\n", _fenced(command), _what_ran(records), choice, takeaways_section(records)]
    parts += [sweep_section(own), "## Table\n"]
    if text := left_out(own, shown):
        parts.append(f"Dense and {text}. All rows: [table.md](table.md).\n")
    parts += [markdown_table(table), _reading(own)]
    if any(one.pairs for one in marks):
        parts.append("Under mark: which rows cannot be told apart in accuracy, by the rule in its section below.\n")
    if several_seeds(table):
        parts += ["## Over seeds\n", markdown_summary(summary(table))]
        parts.append("Mean, sample standard deviation, and Student's t interval of the mean over the seeds.\n")
        parts.append(f"{seeds_bound(table['seed'].nunique())}\n".lstrip("\n"))
    parts += [pairs_section(own, marks), controls_section(records), chains_section(records)]
    parts += _of_each(own, lambda rows: ledger_section(rows) + steps_section(rows) + reasons_section(rows))
    parts += [_figures(records), _dense(own), *_of_each(records, _findings)]
    parts += [_protocol(records), _environment(records), _artifacts(own), checklist_section(records)]
    return "\n".join(part for part in parts if part)


def _of_each(records: Sequence[RunRecord], sections: Callable[[Sequence[RunRecord]], str]) -> list[str]:
    """The sections of each network and data set, whose heads name it where there are several."""
    places = by_place(records)
    if len(places) == 1:
        return [sections(records)]
    found = []
    for place, own in places.items():
        lines = sections(own).split("\n")
        found.append("\n".join(f"{line}: {markdown(place)}" if line.startswith("## ") else line for line in lines))
    return found


def _figures(records: Sequence[RunRecord]) -> str:
    places = by_place(records)
    lines = []
    for number, place in enumerate(places, start=1):
        lines += [f"### {markdown(place)}\n"] if len(places) > 1 else []
        of = f", {place}" if len(places) > 1 else ""
        lines += [
            f"![{markdown(text + of)}](figures/{name_of(name, number, len(places))}.png)\n"
            for name, text in CAPTIONS.items()
        ]
    return "\n".join(["## Figures\n", *lines])


def _fenced(command: str) -> str:
    return f"```\n{command.strip()}\n```\n"


def _what_ran(records: Sequence[RunRecord]) -> str:
    counts = {status: sum(one.status == status for one in records) for status in ("ok", "failed", "refused")}
    nets = ", ".join(markdown(f"{net} on {data}") for net, data in dict.fromkeys((r.net, r.dataset) for r in records))
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(one.seed for one in records))
    statuses = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    lines = [f"{len(records)} cases ({statuses or 'none'}): {nets or 'nothing'}; seeds: {seeds or 'none'}.\n"]
    if added := Counter(one.role for one in beside(records)):
        kinds = ", ".join(f"{WHAT[role]} ({count})" for role, count in added.items())
        lines.append(f"{added.total()} of them were not asked for, and are there to be compared with: {kinds}.\n")
    if trained := [flat(one) for one in recipes(records)]:
        lines += ["Training recipe:\n", _facts(_merged(trained))]
    return "\n".join(lines)


def _reading(records: Sequence[RunRecord]) -> str:
    """How the table is read; the number of test images is a record's."""
    seen = {r.accuracy.seen for one in records for r in one.runtimes if r.accuracy}
    images = " or ".join(f"{count:,}" for count in sorted(seen)) or "no"
    return (
        f"Accuracy is correct / seen on {images} test images, with its 95 % Wilson interval. Compression is the dense "
        "file's bytes / this file's bytes, same seed. Speed-up is the median dense latency / the median latency, both "
        "taken by turns in one process and one runtime. Speed-up by MACs is what the arithmetic alone would give. "
        f"{_epochs(records)} All columns in full precision: [table.csv](table.csv).\n"
    )


def _epochs(records: Sequence[RunRecord]) -> str:
    """What extra epochs are, and whether rows were trained alike; rows that did not train are no matter of it."""
    text = "Extra epochs are those that a row was trained for beyond its dense network."
    counts = sorted({count for one in records if one.status == "ok" and (count := extra_epochs(one))})
    if len(counts) > 1:
        text += (
            f" **They differ from row to row ({counts[0]} to {counts[-1]})**: part of a difference in accuracy between "
            "such rows is training, not compression."
        )
    return text


def _dense(records: Sequence[RunRecord]) -> str:
    lines = []
    several = len(by_place(records)) > 1
    for one in records:
        if one.chain == DENSE and one.status == "ok":
            place = f"{markdown(f'{one.net} on {one.dataset}')}, " if several else ""
            scores = [
                f"{percent(r.accuracy.correct / r.accuracy.seen)} % in {markdown(r.runtime)}"
                for r in one.runtimes
                if r.accuracy and r.accuracy.seen
            ]
            epochs = sum(log.stage == DENSE for log in one.training)
            seconds = sum(log.seconds for log in one.training)
            images = {log.samples for log in one.training if log.stage == DENSE}
            together = f" by {count} processes together" if (count := processes([one])) > 1 else ""
            trained = (
                f", trained for {counted(epochs, 'epoch')} of {max(images):,} images in {rounded(seconds)} s{together}"
                if epochs
                else ", not trained in this run"
            )
            lines.append(
                f"- {place}seed {one.seed}: {', '.join(scores) or 'not scored'}; "
                f"validation {percent(one.validation_accuracy)} %; "
                f"{one.parameters:,} parameters, {one.macs:,} MACs an image, {one.file_bytes:,} bytes{trained}."
            )
    text = "\n".join(lines) or "No dense network was measured: there are no ratios and no speed-ups."
    return f"## The dense reference\n\n{text}\n"


def _unexpected(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records without controls and orders that were refused: other sections tell of these."""
    return [one for one in records if one.role in (ASKED, "part") or one.status != "refused"]


def _findings(every: Sequence[RunRecord]) -> str:
    records, expected = asked(every), _unexpected(every)
    wrong = reasons(expected)
    if is_crowd(records) and len(wrong) > LISTED:
        wrong = [markdown(line) for line in shared_reasons(expected)]
    sections = (
        ("What went wrong", wrong),
        ("Runtimes that compute something else than the stored network", drifting(records)),
        ("Rows more than 3 points below dense", behind_dense(records)),
        ("Rows that cannot be told apart from dense", cannot_be_told_apart(records)),
        ("Real int8 against simulated", real_against_simulated(records)),
        ("Timings that are not steady", unstable_timings(records)),
        ("Notes", [f"`{one.label}`, seed {one.seed}: {markdown(n)}" for one in records for n in one.notes]),
    )
    parts = [
        f"## {head}\n\n" + "".join(f"- {line}\n" for line in listed(lines, records, "[table.csv](table.csv)"))
        for head, lines in sections
        if lines
    ]
    return "\n".join(parts)


def _protocol(records: Sequence[RunRecord]) -> str:
    """The protocols of the measurements, a line for each quantity and runtime, with the range of what differs."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for one in records:
        for result in one.runtimes:
            for taken in result.measurements:
                facts = flat({key: value for key, value in taken.protocol.items() if key != "note"})
                facts["samples"] = str(len(taken.samples))
                batch = facts.pop("batch", "")
                quantity = f"{taken.quantity} ({taken.unit})" + (f", batch {batch}" if batch else "")
                groups.setdefault((quantity, result.runtime), []).append(facts)
    lines = []
    for (quantity, runtime), found in groups.items():
        text = "; ".join(f"{key}: {value}" for key, value in _merged(found).items())
        lines.append(f"| {markdown(quantity)} | {markdown(runtime)} | {markdown(text)} |")
    if not lines:
        return ""
    return "\n".join(
        ["## How it was measured\n", "| quantity | runtime | protocol |", "| --- | --- | --- |", *lines, ""]
    )


def _environment(records: Sequence[RunRecord]) -> str:
    known = [flat(one.environment) for one in records if one.environment]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(one.seed for one in records))
    facts = _merged(known) | {"seeds": seeds or "none"}
    return "## Versions and machine\n\n" + _facts(facts)


def _artifacts(records: Sequence[RunRecord]) -> str:
    shown = named(records)
    lines = [
        f"| {markdown(one.label)} | {one.seed} | {markdown(one.artifact)} | {one.file_bytes:,} | `{one.sha256}` |"
        for one in dense_first(shown)
        if one.sha256
    ]
    if not lines:
        return ""
    head = ["| method | seed | file | bytes | SHA-256 |", "| --- | ---: | --- | ---: | --- |"]
    more = f"\nThe files of {text}; of all: [table.csv](table.csv).\n" if (text := left_out(records, shown)) else ""
    return "\n".join(["## Files\n", *head, *lines, more])


def flat(facts: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested facts as one level of texts: {"machine": {"cores": 2}} -> {"machine.cores": "2"}."""
    found: dict[str, str] = {}
    for key, value in facts.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return found


def _merged(facts: Sequence[dict[str, str]]) -> dict[str, str]:
    """Facts of several records: what differs is shown as a range of numbers, or side by side."""
    return {
        key: _together([one[key] for one in facts if key in one]) for key in dict.fromkeys(k for f in facts for k in f)
    }


def _together(values: Sequence[str]) -> str:
    different = list(dict.fromkeys(values))
    try:
        numbers = sorted(different, key=float)
    except ValueError:
        if len(different) > MOST_SIDE_BY_SIDE:
            return f"{len(different)} different, {min(different)} to {max(different)}"
        return " / ".join(different)
    return different[0] if len(different) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _facts(facts: dict[str, str]) -> str:
    return "".join(f"- {markdown(key)}: {markdown(one_line(value))}\n" for key, value in facts.items())
