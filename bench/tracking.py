"""Trackers: what a run's records tell is logged to other tools, row by row and at the end. No torch here.

Everything that is logged comes from the records and files of the run's folder, so that a run can be logged afterwards,
and a tracker that was away is given the rest by the same command again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from baselines.errors import UsageError
from bench.options import Options
from bench.records import RunRecord
from bench.tracking_values import DENSE, Row, digest, row_of

_KEPT = ("plan.json", "matched.json", "search.json")  # of a run's folder, besides what its report is


class TrackingError(Exception):
    """A tracker that could not log: the message says why, in a line."""


@dataclass(frozen=True)
class Run:
    """The run that is logged."""

    folder: Path
    plan_id: str
    command: str

    @staticmethod
    def of(folder: Path) -> Run:
        """
        Raises:
            UsageError: its plan cannot be read.
        """
        path = folder / "plan.json"
        try:
            plan = json.loads(path.read_text(encoding="utf-8"))
            return Run(folder, str(plan.get("id") or digest(plan["cases"])), str(plan["command"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is damaged: run the command again with the same --out") from error


class Tracker(Protocol):
    """One tool that rows are logged to. What it holds already is not logged again.

    Each verb raises `TrackingError` where the tool cannot be reached, and can then be tried again.
    """

    name: str  # with where it is

    def case(self, run: Run, row: Row) -> None:
        """Logs one row."""
        ...

    def report(self, run: Run, rows: Sequence[Row], files: Sequence[Path]) -> None:
        """Logs what the run's report consists of, after all rows."""
        ...

    def opened_by(self, run: Run) -> str:
        """What a person does to see it."""
        ...


@dataclass
class Tracking:
    """All trackers of a command. One that fails is told of in a line, and stops nothing."""

    trackers: Sequence[Tracker]
    _run: Run | None = field(default=None, init=False)
    _say: Callable[[str], None] = field(default=print, init=False)
    _away: set[str] = field(default_factory=set, init=False)
    _logged: set[tuple[str, str]] = field(default_factory=set, init=False)  # tracker and digest of the row
    _dense: dict[tuple[str, str, int], RunRecord] = field(default_factory=dict, init=False)

    def begin(self, folder: Path, say: Callable[[str], None]) -> None:
        """What follows is of the run in `folder`; say: told of trackers that fail."""
        if self.trackers:
            self._run, self._say = Run.of(folder), say

    def case(self, record: RunRecord) -> None:
        """A record was written, or is kept from before. In any order: what is told beside dense is logged at the end
        where the dense record comes later."""
        self._learn(record)
        for tracker in self.trackers:
            if tracker.name not in self._away:
                self._try(tracker, self._row(record))

    def report(self, records: Sequence[RunRecord], files: Sequence[Path]) -> list[str]:
        """Logs what is missing of `records`, and `files` of the report; returns lines for the end of the command."""
        if not self._run:
            return []
        for record in records:
            self._learn(record)
        rows = [self._row(record) for record in records]
        kept = [path for name in _KEPT if (path := self._run.folder / name).is_file()]
        return [self._finish(tracker, self._run, rows, [*files, *kept]) for tracker in self.trackers]

    def _finish(self, tracker: Tracker, run: Run, rows: Sequence[Row], files: Sequence[Path]) -> str:
        try:
            for row in rows:
                self._log(tracker, row)
            tracker.report(run, rows, files)
        except TrackingError as error:
            left = sum((tracker.name, row.digest) not in self._logged for row in rows)
            what = f"{left} of {len(rows)} rows and the report are" if left else "the report is"
            return f"{tracker.name}: {what} not logged ({error}): the same command again logs what is missing"
        return f"{tracker.name}: {tracker.opened_by(run)}"

    def _try(self, tracker: Tracker, row: Row) -> None:
        try:
            self._log(tracker, row)
        except TrackingError as error:
            self._away.add(tracker.name)
            self._say(f"{tracker.name}: not logged ({error}); the run goes on, and what is missing is tried at its end")

    def _log(self, tracker: Tracker, row: Row) -> None:
        assert self._run, "begin comes first"
        tracker.case(self._run, row)
        self._logged.add((tracker.name, row.digest))

    def _learn(self, record: RunRecord) -> None:
        if record.chain == DENSE:
            self._dense[record.net, record.dataset, record.seed] = record

    def _row(self, record: RunRecord) -> Row:
        return row_of(record, self._dense.get((record.net, record.dataset, record.seed)))


def tracking(options: Options) -> Tracking:
    """The trackers that the command asks for, each reached once.

    Raises:
        UsageError: a package is not installed, or MLflow's server or file is not there.
    """
    found: list[Tracker] = []
    if options.mlflow:
        from bench.tracking_mlflow import MLflowTracker

        found.append(MLflowTracker(options.mlflow))
    if options.tensorboard:
        from bench.tracking_tensorboard import TensorBoardTracker

        found.append(TensorBoardTracker())
    return Tracking(found)
