"""The section of chains that were compared at one point (`--at`), from `matched.json` and the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.records import RunRecord
from reports.cells import MISSING, markdown, percent, ratio, rounded
from reports.loading import MATCHED, choice_folders, read_choice
from reports.rows import by_place

_COLUMNS = (
    "method", "setting", "reached on validation", "validation accuracy, %", "test accuracy, %", "file, kB", "trials",
    "note",
)  # fmt: skip
_RULE = "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
_WHAT = {"size": "dense bytes / this file's bytes", "latency": "dense time / this file's time, single images"}


def matched_section(records: Sequence[RunRecord], folder: Path) -> str:
    """A table for each target, or nothing where the run has none.

    Raises:
        ValueError: the file of the targets is damaged.
    """
    parts = []
    for place in choice_folders(folder):
        path = place / MATCHED
        if path.is_file():
            data = read_choice(path)
            try:
                by_target: dict[str, list[dict[str, Any]]] = {}
                for one in data["matches"]:
                    by_target.setdefault(str(one["target"]), []).append(one)
                of = records_of(data, records)
                parts += [_of_target(target, found, of, data) for target, found in by_target.items()]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged ({error!r}): run the command again with the same --out") from error
    return "\n".join(parts)


def records_of(data: dict[str, Any], records: Sequence[RunRecord]) -> Sequence[RunRecord]:
    """The records of the network and data set that a choice of a joined run was for."""
    return by_place(records).get(data["place"], []) if "place" in data else records


def place_of(data: dict[str, Any]) -> str:
    """What the head of its section says of that."""
    return f": {markdown(data['place'])}" if "place" in data else ""


def _of_target(target: str, found: Sequence[dict[str, Any]], records: Sequence[RunRecord], data: dict[str, Any]) -> str:
    quantity, _, value = target.partition("=")
    head = f"## At a drop of at most {value} points" if quantity == "drop" else f"## At {quantity} {value}"
    head += f"{place_of(data)}\n"
    lines = [_line(one, quantity, records) for one in found]
    return "\n".join([head, f"| {' | '.join(_COLUMNS)} |", _RULE, *lines, "", _rule(quantity, data)])


def _line(one: dict[str, Any], quantity: str, records: Sequence[RunRecord]) -> str:
    asked = f"`{one['asked']}`"
    trials = f"{one['trials']} + {one['cheap_trials']}"
    if one["status"] == "refused":
        return f"| {asked} | refused |{f' {MISSING} |' * 4} {trials} | {markdown(one['reason'])} |"
    reached = f"{one['reached']:.2f}" if quantity == "drop" else ratio(one["reached"])
    cells = (
        asked, f"`{one['label']}`", reached, percent(one["validation_accuracy"]), accuracy_of(one["chain"], records),
        rounded(one["file_bytes"] / 1000), trials, markdown(one["reason"]),
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def accuracy_of(chain: str, records: Sequence[RunRecord]) -> str:
    """In the first runtime; a mean over the seeds that ran, and how many where there are several."""
    shares = []
    for one in records:
        counts = next((result.accuracy for result in one.runtimes if result.accuracy), None)
        if one.chain == chain and one.status == "ok" and counts and counts.seen:
            shares.append(counts.correct / counts.seen)
    if not shares:
        return MISSING
    return percent(sum(shares) / len(shares)) + (f" (mean of {len(shares)})" if len(shares) > 1 else "")


def _rule(quantity: str, data: dict[str, Any]) -> str:
    """How the settings were found."""
    chosen = f"Settings were chosen on validation data and seed {data['seed']} alone; the test split was opened after."
    trials = "Trials are whole ones, then those without training, which only say where to look."
    if quantity == "drop":
        how = (
            "The smallest file found whose validation accuracy is at most so many points below the dense "
            f"network's ({percent(data['dense_validation_accuracy'])} %); a note says where more than 3 % of that is "
            "to spare."
        )
    else:
        where = f", in {data['runtime']}" if quantity == "latency" else ""
        how = (
            f"Reached is {_WHAT[quantity]}{where}; within 3 % of the target counts as there, and a note says where not."
        )
    return f"{how} {chosen} {trials}\n"
