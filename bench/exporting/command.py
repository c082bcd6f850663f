"""`--export FILE --to FORMAT`: an artifact as a file for other tools, reloaded and scored before it is called done."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from baselines.errors import UsageError, nearest
from bench import artifact
from bench.evaluate import data_request, stated_by
from bench.exporting import FORMATS, Format
from bench.exporting.base import BATCH
from bench.logit_error import logit_error
from bench.measure import MeasureError
from bench.measure.accuracy import agreement
from bench.measure.logits import logits_as_read
from bench.measure.messages import ReloadAnswer, ReloadRequest, ScoreRequest
from bench.measure.process import ask
from bench.measure.score import open_data
from bench.options import Options
from bench.records import ALIKE, Accuracy
from bench.runtimes import RuntimeFailure

MOST_ERROR = 0.1  # standard deviations of the logits, root mean square: equal predictions alone may hide a wrong kernel
_BATCH = 32
_TIMEOUT_S = 3600.0
_OK, _FAILED = 0, 1
_CARRIED = ("net", "dataset", "chain", "classes", "class_names", "input_shape", "mean", "std")


def export_file(path: Path, options: Options, console: Console) -> int:
    """Writes the artifact `path` in the format `options.to`; returns the exit code.

    The file appears under its name only if a fresh process that reads it alone agrees with the artifact.

    Raises:
        UsageError: no such format, or it is not available here; the artifact is missing or damaged, its data set too.
    """
    form = _format(options.to)
    stated = stated_by(path, "--export")
    target = _target(path, form, options.out)
    _check_writable(target)
    data = data_request(stated, options)
    eager = _eager(path, data, options.threads)
    read = artifact.load(path)
    facts = {**{key: stated[key] for key in _CARRIED if key in stated}, "artifact_sha256": read.sha256}
    with TemporaryDirectory(dir=target.parent, prefix=".export-") as folder, TemporaryDirectory() as aside:
        part, logits = Path(folder, target.name), Path(aside, "logits.npy")
        try:
            form.write(read.model, facts, part)
            request = ReloadRequest(form.name, str(part.resolve()), options.threads, data, _BATCH, str(logits))
            answer: ReloadAnswer = ask(request, progress=lambda text: None, timeout_s=_TIMEOUT_S)
        except (RuntimeFailure, MeasureError) as error:
            answer = ReloadAnswer(None, str(error))
        apart = _logit_error(logits, read, data) if answer.accuracy else 0.0
        if reason := _judged(console, f"{path.name}, eager", form, eager, answer, apart):
            console.print(f"not exported: {reason}", markup=False, soft_wrap=True)
            return _FAILED
        for file in sorted(Path(folder).iterdir(), key=lambda one: one == part):  # the file itself comes last
            os.replace(file, target.parent / file.name)
            size = (target.parent / file.name).stat().st_size
            console.print(f"{target.parent / file.name}: {size:,} bytes", markup=False, soft_wrap=True)
    if batch := form.facts(target).get(BATCH):
        console.print(f"it takes {batch} images at a time, or one: fill up and split other batches", soft_wrap=True)
    return _OK


def _format(name: str | None) -> Format:
    if name is None:
        raise UsageError(f"--export needs a format: add --to with one of {', '.join(FORMATS)}")
    if name not in FORMATS:
        raise UsageError(f"unknown format --to {name}: {nearest(name, FORMATS)}")
    if reason := FORMATS[name].unavailable():
        raise UsageError(f"--to {name} cannot be written here: {reason}")
    return FORMATS[name]


def _target(path: Path, form: Format, out: Path | None) -> Path:
    if out is None:
        return path.with_name(path.stem + form.default_suffix)
    if out.is_dir():
        return out / (path.stem + form.default_suffix)
    if out.suffix != form.suffix:
        raise UsageError(f"--out {out} must end in {form.suffix} for --to {form.name}, or be a folder that is there")
    return out


def _check_writable(target: Path) -> None:
    """Makes the folder; what cannot be written is found before anything is scored.

    Raises:
        UsageError: no file can be made there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".export-"):
            pass
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}): pass another place with --out") from error


def _eager(path: Path, data: dict[str, Any], threads: int) -> Accuracy:
    """The artifact's own score, by a fresh process.

    Raises:
        UsageError: the artifact cannot be scored, so that nothing can be held against it.
    """
    with TemporaryDirectory() as work:
        request = ScoreRequest(
            str(path.resolve()), None, ("eager",), threads, "cpu", data, (_BATCH,), work, latency_budget_s=0.0
        )
        try:
            (result,) = ask(request, progress=lambda text: None, timeout_s=_TIMEOUT_S).runtimes
        except MeasureError as error:
            raise UsageError(f"--export {path}: the artifact cannot be scored: {error}") from error
    if result.accuracy is None:
        raise UsageError(f"--export {path}: the artifact cannot be scored: {result.reason}")
    return result.accuracy


def _logit_error(logits: Path, read: artifact.Artifact, data: dict[str, Any]) -> float:
    """Of the exported file's first logits, held against the artifact's network as it was read."""
    images = open_data(data, read.metadata).batches("test", _BATCH, device="cpu")
    batches = ((np.ascontiguousarray(some.numpy()), labels.numpy()) for some, labels in images)
    return logit_error(np.load(logits), logits_as_read(read.model, batches, "cpu"))


def _judged(console: Console, artifacts: str, form: Format, eager: Accuracy, answer: ReloadAnswer, error: float) -> str:
    """Prints both scores; returns why the export is not good, or nothing."""
    console.print(f"{artifacts}: {_share(eager)}", markup=False, soft_wrap=True)
    if answer.accuracy is None:
        return answer.reason
    same = agreement(answer.accuracy, eager)
    text = (
        f"{form.name}, reloaded from the file alone: {_share(answer.accuracy)}, {100 * same:.2f} % predicted alike, "
        f"logits {error:.2g} standard deviations apart"
    )
    console.print(text, markup=False, soft_wrap=True)
    if same < ALIKE:
        return f"fewer than {100 * ALIKE:g} % of predictions are the artifact's; the file was removed"
    if error > MOST_ERROR:
        return f"its logits are more than {MOST_ERROR:g} standard deviations off; the file was removed"
    return ""


def _share(one: Accuracy) -> str:
    return f"{one.correct} of {one.seen} correct ({100 * one.correct / one.seen:.2f} %)"
