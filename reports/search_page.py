"""The section of a search (`--search`), from `search.json` and the records, and all its trials as a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.records import RunRecord
from reports.cells import MISSING, percent, ratio, rounded
from reports.loading import SEARCHED, choice_folders, read_choice
from reports.matched import accuracy_of, place_of, records_of

_COLUMNS = ("chain", "file, kB", "compression", "drop on validation, points", "test accuracy, %", "within the limits")
_OF_CSV = (
    "number", "label", "status", "epochs", "size_bytes", "drop", "params", "macs", "latency_s", "excess", "gain",
    "seconds", "reason",
)  # fmt: skip


def search_section(records: Sequence[RunRecord], folder: Path) -> str:
    """What was searched, how it ended, and the Pareto front; nothing where the run has no search.

    Raises:
        ValueError: the file of the search is damaged.
    """
    parts = []
    for path, data in _searches(folder):
        of = records_of(data, records)
        try:
            parts += [f"## Search{place_of(data)}\n", _outcome(data), *_front(data, of), "", _rule(data)]
        except (KeyError, TypeError) as error:
            raise _damaged(path, error) from error
    return "\n".join(parts)


def search_csv(folder: Path) -> str:
    """All suggestions of the search, a line each; empty where there was none. Of several runs, with their places."""
    text = io.StringIO()
    found = _searches(folder)
    places = ("place",) if any("place" in data for _, data in found) else ()
    writer = csv.DictWriter(text, (*places, *_OF_CSV), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for _, data in found:
        writer.writerows({"place": data.get("place", "")} | one for one in data["candidates"])
    return text.getvalue() if found else ""


def _searches(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The searches of a run, each with its file."""
    paths = [place / SEARCHED for place in choice_folders(folder)]
    found = [(path, read_choice(path)) for path in paths if path.is_file()]
    for path, data in found:
        if not isinstance(data.get("candidates"), list):
            raise _damaged(path, KeyError("candidates"))
    return found


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged ({error!r}): run the command again with the same --out")


def _outcome(data: dict[str, Any]) -> str:
    counts = Counter(one["status"] for one in data["candidates"])
    asked = f"`{data['goal']}`, making the {data['least']} least: {len(data['candidates'])} chains were tried, "
    asked += (
        f"{counts['whole']} with the whole budget, {counts['stopped']} stopped before, {counts['refused']} refused."
    )
    if not data["winner"]:
        return f"{asked} **None keeps the limits.**\n"
    return f"{asked} The winner on validation data:\n\n```\n{data['command']}\n```\n"


def _front(data: dict[str, Any], records: Sequence[RunRecord]) -> list[str]:
    """The table of the Pareto front."""
    known = {one["label"]: one for one in data["candidates"]}
    lines = [f"| {' | '.join(_COLUMNS)} |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for label in data["front"]:
        one = known[label]
        cells = (
            f"`{label}`", rounded(one["size_bytes"] / 1000), ratio(data["dense_bytes"] / one["size_bytes"]),
            f"{one['drop']:.2f}", accuracy_of(one["chain"], records), "yes" if one["excess"] <= 0 else "no",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines if data["front"] else [MISSING]


def _rule(data: dict[str, Any]) -> str:
    """How suggestions were judged."""
    where = f" Latency is that of single images in {data['runtime']}." if data["runtime"] else ""
    dense = percent(data["dense_validation_accuracy"])
    return (
        "The front holds what no other beats in both the drop and what is made least. Each suggestion was first "
        "compressed without training: beyond a limit, or no better than the best so far, it ended there. Then it was "
        f"fine-tuned for more and more epochs, up to {data['epochs']} a stage, and stopped where it had lost more than "
        "one that broke the limit in the end, and more than any that kept it, at as many epochs; or, where the drop is "
        "made least, where it was not among the best third. Drops are against the dense network's "
        f"{dense} % of the validation images, seed "
        f"{data['seed']}; the test split was opened after, for the rows of this report.{where} All suggestions: "
        f"[search.csv](search.csv).\n"
    )
