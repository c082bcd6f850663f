"""Several runs as one: their records side by side in a folder that is reported as a run is.

What runs have measured in common is kept once. Rows of one network, data set, chain and seed that were trained by
different recipes are no rows of one table, and are refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.records import RunRecord, write_json, write_record
from reports.cells import shortened
from reports.loading import load_run
from reports.roles import ASKED

Place = tuple[str, str, str, int]  # network, data set, chain, seed


def join(runs: Sequence[Path], folder: Path) -> Path:
    """Fills `folder` with the records of `runs`, as if one command had made them all; what an earlier call put there is
    replaced. The files stay where they are: records name them from `folder`.

    Raises:
        ValueError: a run cannot be read; rows of two runs exclude each other; `folder` holds something else.
        OSError: the folder cannot be written.
    """
    _check_free(folder, runs)
    loaded = [(run, *load_run(run)) for run in runs]
    records = merged([[_seen_from(one, run, folder) for one in records] for run, records, _ in loaded])
    commands = list(dict.fromkeys(command for _, _, command in loaded))
    cases = [one.case_id for one in records]
    for name in ("records", "figures"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for one in records:
        write_record(one, folder / "records" / f"{one.case_id}.json")
    plan = {
        "id": hashlib.sha256("\n".join(cases).encode("utf-8")).hexdigest()[:16],
        "command": "\n".join(commands),
        "cases": cases,
        "runs": [os.path.relpath(run, folder) for run in runs],
    }
    write_json(plan, folder / "plan.json")
    return folder


def merged(runs: Iterable[Sequence[RunRecord]]) -> list[RunRecord]:
    """The records of all runs in order, each case once: as asked for where one run asked for it, else of the first.

    Raises:
        ValueError: two of one network, data set, chain and seed come from different recipes or data.
    """
    cases: dict[str, RunRecord] = {}
    places: dict[Place, RunRecord] = {}
    for one in (one for records in runs for one in records):
        place = (one.net, one.dataset, one.chain, one.seed)
        other = places.setdefault(place, one)
        if other.case_id != one.case_id:
            raise ValueError(
                f"{shortened(one.label, 60)} of {one.net} on {one.dataset}, seed {one.seed}, was made in two ways "
                f"({_difference(other, one)}): report these runs apart"
            )
        held = cases.get(one.case_id, one)
        kept = one if held.role != ASKED and one.role == ASKED else held
        of = (
            dict.fromkeys((*held.control_of, *one.control_of))
            if kept.role == held.role == one.role
            else kept.control_of
        )
        cases[one.case_id] = dataclasses.replace(kept, control_of=tuple(of))
    return list(cases.values())


def _difference(first: RunRecord, second: RunRecord) -> str:
    keys = [key for key in first.recipe | second.recipe if first.recipe.get(key) != second.recipe.get(key)]
    if not keys:
        return "of other data or another start"
    return ", ".join(f"{key} {first.recipe.get(key)} and {second.recipe.get(key)}" for key in keys)


def _seen_from(one: RunRecord, run: Path, folder: Path) -> RunRecord:
    if not one.artifact:
        return one
    return dataclasses.replace(one, artifact=Path(os.path.relpath(run / one.artifact, folder)).as_posix())


def _check_free(folder: Path, runs: Sequence[Path]) -> None:
    """Raises `ValueError` where the folder holds a run of its own, or anything but what `join` puts there."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    other = f"--out {folder} holds something else: choose an empty or a new folder"
    if any(folder.resolve() == run.resolve() for run in runs):
        raise ValueError(f"--out {folder} is one of the runs: choose a new folder")
    try:
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(other) from error
    if not isinstance(plan, dict) or "runs" not in plan:
        raise ValueError(other)
