"""The records of a run, read from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.records import RunRecord, read_record

CHOICES = "choices"  # of runs that were joined, a folder each
MATCHED, SEARCHED = "matched.json", "search.json"  # as bench/choosing.py and bench/searching.py write them


def load_run(folder: Path) -> tuple[list[RunRecord], str]:
    """The records of a run's folder in plan order, as far as they exist, and the command that made them.

    Raises:
        ValueError: the folder is not a run, or has no record yet; the message lists what was looked for.
        RecordError (a ValueError): a record is damaged or of another schema.
    """
    plan = folder / "plan.json"
    if not plan.is_file():
        what = "there is no such folder" if not folder.is_dir() else "it is not the folder of a run"
        raise ValueError(f"{folder}: {what}; looked for {plan}: pass the folder that a run was given as --out")
    try:
        data = json.loads(plan.read_text(encoding="utf-8"))
        command, cases = str(data["command"]), [str(case) for case in data["cases"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{plan} is damaged ({error!r}): run the command again with the same --out") from error
    paths = [folder / "records" / f"{case}.json" for case in cases]
    found = [path for path in paths if path.is_file()]
    if not found:
        looked = ", ".join(str(path) for path in paths) or "none, the plan has no cases"
        raise ValueError(f"{folder} has no record yet; looked for {looked}: finish the run first, type: {command}")
    return [read_record(path) for path in found], command


def choice_folders(folder: Path) -> list[Path]:
    """Where a run's folder may tell how chains were chosen: itself, or of runs that were joined a folder each."""
    joined = folder / CHOICES
    return [folder, *(sorted(joined.iterdir(), key=lambda one: int(one.name)) if joined.is_dir() else [])]


def read_choice(path: Path) -> dict[str, Any]:
    """What `--at` or `--search` left.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise TypeError("not a mapping")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): run the command again with the same --out") from error
    return data
