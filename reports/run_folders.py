"""The runs at hand: those that were named, or all below a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.records import RunRecord
from reports.loading import load_run


@dataclass(frozen=True)
class Run:
    """One run, or one report of several."""

    folder: Path
    records: tuple[RunRecord, ...] = field(repr=False)
    command: str  # that made it; of a report of several runs a line each

    def made_by(self, one: RunRecord) -> list[str]:
        """The command that made the run of a record. In a report of several runs that of the one whose file it names;
        where that is gone, all of them, the likeliest first."""
        lines = self.command.splitlines()
        if len(lines) < 2:
            return lines
        try:
            return load_run((self.folder / one.artifact).parent.parent)[1].splitlines()
        except ValueError:
            return sorted(lines, key=lambda line: (one.net not in line, one.label not in line))


def run_at(folder: Path) -> Run:
    """The run of a folder.

    Raises:
        ValueError: it is no run, or damaged.
    """
    records, command = load_run(folder)
    return Run(folder, tuple(records), command)


def runs_at(folders: Sequence[Path], otherwise: Path) -> tuple[list[Run], list[str]]:
    """The runs of `folders`, each a run or a folder with runs below it, or of `otherwise` where none is named; and a
    line on each run below a folder that cannot be read.

    Raises:
        ValueError: a folder that was named is no run and has none below; or none is named and there is none.
    """
    found: dict[Path, Run] = {}
    said: list[str] = []
    for folder in folders or [otherwise]:
        named = not folder.is_dir() or (folder / "plan.json").is_file()
        for one in [folder] if named and folders else _below(folder):
            try:
                found.setdefault(one.resolve(), run_at(one))
            except ValueError as error:
                if named and folders:
                    raise
                said.append(f"{one} is left out: {error}")
        if not named and folders and not any(run.folder.is_relative_to(folder) for run in found.values()):
            raise ValueError(f"{folder} is no run and has no readable one below it: name the folder of a run")
    if not found:
        raise ValueError(
            f"there is no run below {otherwise}/ to answer from: run something first, or name the folders of runs"
        )
    return list(found.values()), said


def _below(folder: Path) -> list[Path]:
    """Folders with a plan and records, in order; none that is hidden, as a cache is."""
    plans = [path.parent for path in folder.rglob("plan.json") if (path.parent / "records").is_dir()]
    return sorted(one for one in plans if not any(part.startswith(".") for part in one.relative_to(folder).parts))
