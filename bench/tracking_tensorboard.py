"""Writes rows for TensorBoard: below the run's folder a folder for each case and seed, with one file in it.

The file is written whole, from the record, and named after what it holds: the same row is not written again, a row that
has changed replaces it, and no point is there twice. Needs neither torch nor TensorFlow.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from baselines.errors import UsageError
from bench.tracking import Run, TrackingError
from bench.tracking_values import Row

FOLDER = "tensorboard"
_MARK = "events.out.tfevents."  # by which TensorBoard knows its files
_LONGEST_NAME = 80


class TensorBoardTracker:
    """A `bench.tracking.Tracker`."""

    name = "TensorBoard"

    def __init__(self) -> None:
        """
        Raises:
            UsageError: TensorBoard is not installed.
        """
        try:
            importlib.import_module("tensorboard.compat.proto.event_pb2")
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs TensorBoard: pip install tensorboard==2.21.0 (requirements-extra.txt has it)"
            ) from error

    def case(self, run: Run, row: Row) -> None:
        """Writes one row, unless it is there as it is."""
        folder = run.folder / FOLDER / _folder_name(row)
        path = folder / f"{_MARK}{int(row.began or 0)}.{row.digest}"
        try:
            if path.is_file():
                return
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f".{row.digest}.{os.getpid()}.part"
            _write(part, list(_events(row)))
            for old in folder.glob(f"{_MARK}*"):
                old.unlink()
            os.replace(part, path)
        except OSError as error:
            raise TrackingError(f"{folder} cannot be written: {error.strerror or error}") from error

    def report(self, run: Run, rows: Sequence[Row], files: Sequence[Path]) -> None:
        """Figures and pages are in the run's folder already."""

    def opened_by(self, run: Run) -> str:
        """What a person does to see it."""
        return f"to open it: tensorboard --logdir {shlex.quote(str(run.folder / FOLDER))}"


def _folder_name(row: Row) -> str:
    method = re.sub(r"[^A-Za-z0-9.+=-]+", "_", row.params["method"])[:_LONGEST_NAME]
    return f"{method}-s{row.params['seed']}-{row.case_id[:8]}"


def _events(row: Row) -> Iterator[Any]:
    """Everything of a row as TensorBoard's events: the curves, the final measures, its hyperparameters, its state."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    began, ended = row.began or 0.0, row.ended or 0.0
    yield Event(wall_time=began, file_version="brain.Event:2")
    settings = {key: _value(value) for key, value in row.params.items() if not key.startswith("training.")}
    yield Event(wall_time=began, summary=hparams_pb(settings, trial_id=row.name, start_time_secs=began))
    for one in row.curves:
        value = Summary(value=[Summary.Value(tag=one.name, simple_value=one.value)])
        yield Event(wall_time=began + one.after_s, step=one.step, summary=value)
    for name, number in row.measures.items():
        tag = name if "/" in name else f"row/{name}"  # what has no group gets a heading of its own
        value = Summary(value=[Summary.Value(tag=tag, simple_value=number)])
        yield Event(wall_time=ended, step=0, summary=value)
    lines = [f"**{row.status}** {row.reason}", "", *(f"- {key}: {text}" for key, text in row.facts.items())]
    yield Event(wall_time=ended, step=0, summary=text_pb("row", "\n".join(lines)))


def _write(path: Path, events: Sequence[Any]) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        file.flush()
        os.fsync(file.fileno())


def _value(text: str) -> str | float:
    """Numbers as numbers, so that TensorBoard can sort by them."""
    try:
        return float(text)
    except ValueError:
        return text
