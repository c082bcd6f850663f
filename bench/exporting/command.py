"""`--export FILE --to FORMAT`: an artifact as a file for other tools, reloaded and scored before it is called done."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from baselines.errors import UsageError, nearest
from bench import artifact
from bench.evaluate import data_request, stated_by
from bench.exporting import FORMATS, Format
from bench.measure import MeasureError
from bench.measure.accuracy import agreement
from bench.measure.messages import ReloadAnswer, ReloadRequest, ScoreRequest
from bench.measure.process import ask
from bench.options import Options
from bench.records import Accuracy
from bench.runtimes import RuntimeFailure

AGREES = 0.995  # share of test predictions that the exported file must have in common with the artifact
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
    data = data_request(stated, options)
    eager = _eager(path, data, options.threads)
    read = artifact.load(path)
    facts = {**{key: stated[key] for key in _CARRIED if key in stated}, "artifact_sha256": read.sha256}
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        part = Path(folder, target.name)
        try:
            form.write(read.model, facts, part)
            request = ReloadRequest(form.name, str(part.resolve()), options.threads, data, _BATCH)
            answer: ReloadAnswer = ask(request, progress=lambda text: None, timeout_s=_TIMEOUT_S)
        except (RuntimeFailure, MeasureError) as error:
            answer = ReloadAnswer(None, str(error))
        reason = _say(console, path, form, eager, answer)
        if reason:
            console.print(f"not exported: {reason}", markup=False, soft_wrap=True)
            return _FAILED
        for file in sorted(Path(folder).iterdir(), key=lambda one: one == part):  # the file itself comes last
            os.replace(file, target.parent / file.name)
            size = (target.parent / file.name).stat().st_size
            console.print(f"{target.parent / file.name}: {size:,} bytes", markup=False, soft_wrap=True)
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


def _say(console: Console, path: Path, form: Format, eager: Accuracy, answer: ReloadAnswer) -> str:
    """Prints both scores; returns why the export is not good, or nothing."""
    console.print(f"{path.name}, eager: {_share(eager)}", markup=False, soft_wrap=True)
    if answer.accuracy is None:
        return answer.reason
    same = agreement(answer.accuracy, eager)
    text = f"{form.name}, reloaded from the file alone: {_share(answer.accuracy)}, {100 * same:.2f} % predicted alike"
    console.print(text, markup=False, soft_wrap=True)
    if same < AGREES:
        return f"fewer than {100 * AGREES:g} % of predictions are the artifact's; the file was removed"
    return ""


def _share(one: Accuracy) -> str:
    return f"{one.correct} of {one.seen} correct ({100 * one.correct / one.seen:.2f} %)"
