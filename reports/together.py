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
from typing import Any

from bench.records import Role, RunRecord, write_json, write_record
from reports.cells import shortened
from reports.loading import CHOICES, MATCHED, SEARCHED, choice_folders, load_run, read_choice
from reports.roles import ASKED
from reports.rows import by_place, processes

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
    for name in ("records", "figures", CHOICES):
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
    kept = [choice for run, records, _ in loaded for choice in _choices(run, records)]
    for number, (name, data) in enumerate(kept, start=1):
        write_json(data, folder / CHOICES / str(number) / name)
    return folder


def _choices(run: Path, records: Sequence[RunRecord]) -> list[tuple[str, dict[str, Any]]]:
    """What the run tells of how its chains were chosen, with the network and data set that this was for."""
    found = []
    for place in choice_folders(run):
        for name in (MATCHED, SEARCHED):
            if (place / name).is_file():
                found.append((name, {"place": next(iter(by_place(records))), **read_choice(place / name)}))
    return found


def merged(runs: Iterable[Sequence[RunRecord]]) -> list[RunRecord]:
    """The records of all runs in order, each case once. A chain that one run asked for is asked for in all seeds; else
    it is what the first run has it for.

    Raises:
        ValueError: two of one network, data set, chain and seed were not made alike.
    """
    every = [one for records in runs for one in records]
    chains: dict[tuple[str, str, str], list[RunRecord]] = {}
    places: dict[Place, RunRecord] = {}
    for one in every:
        chains.setdefault((one.net, one.dataset, one.chain), []).append(one)
        other = places.setdefault((one.net, one.dataset, one.chain, one.seed), one)
        if other.case_id != one.case_id:
            raise ValueError(
                f"{shortened(one.label, 60)} of {one.net} on {one.dataset}, seed {one.seed}, was made in two ways "
                f"({_difference(other, one)}): report these runs apart"
            )
    purposes = {place: _purpose(of) for place, of in chains.items()}
    found = []
    for one in places.values():
        role, control_of = purposes[one.net, one.dataset, one.chain]
        found.append(dataclasses.replace(one, role=role, control_of=control_of))
    return found


def _purpose(of: Sequence[RunRecord]) -> tuple[Role, tuple[str, ...]]:
    """What a chain is there for in all seeds: asked for if one run did, else what the first has it for."""
    if any(one.role == ASKED for one in of):
        return ASKED, ()
    role = of[0].role
    return role, tuple(dict.fromkeys(chain for one in of if one.role == role for chain in one.control_of))


def _difference(first: RunRecord, second: RunRecord) -> str:
    """What two cases of one name differ in, in words."""
    ours, theirs = (one.recipe | {"processes": processes([one])} for one in (first, second))
    recipes = [
        f"{key} {ours.get(key)} and {theirs.get(key)}" for key in ours | theirs if ours.get(key) != theirs.get(key)
    ]
    measured = [
        (what, [texts(one) for one in (first, second)])
        for what, texts in (
            ("in the runtimes", lambda one: ", ".join(result.runtime for result in one.runtimes)),
            ("on threads:", lambda one: str(one.environment.get("threads"))),
            ("on the device", lambda one: str(one.environment.get("device"))),
        )
    ]
    others = [f"{what} {texts[0]} and {texts[1]}" for what, texts in measured if texts[0] != texts[1]]
    return "; ".join(recipes + others) or "of other data or another start"


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
