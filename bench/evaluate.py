"""`--evaluate FILE`: one artifact scored again, from the file alone."""

from __future__ import annotations

import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from baselines.errors import UsageError
from bench import artifact
from bench.job import chosen_device
from bench.measure import measure
from bench.options import Options
from bench.records import RuntimeResult

_OK, _FAILED = 0, 1


def evaluate_file(path: Path, options: Options, console: Console) -> int:
    """Prints what the file is, its size and, for each runtime, accuracy, latency and memory; returns the exit code.

    The data set is looked for where it was, or where `options` say.

    Raises:
        UsageError: the file is missing or damaged, or its data set cannot be found.
    """
    metadata = stated_by(path, "--evaluate")
    request = data_request(metadata, options)
    device = chosen_device(options.device)
    with TemporaryDirectory() as work:
        measured = measure(
            path,
            None,
            runtimes=options.runtimes,
            threads=options.threads,
            device=device,
            data=request,
            work=Path(work),
            progress=lambda text: None,
        )
    about = f"{metadata['label']} of {metadata['net']} on {metadata['dataset']}, seed {metadata['seed']}"
    console.print(f"{path.name}: {about}", markup=False, soft_wrap=True)
    console.print(f"sha256 {measured.sha256}", soft_wrap=True)
    console.print(
        f"{measured.file_bytes:,} bytes, {measured.parameters:,} parameters, {measured.nonzeros:,} non-zero, "
        f"{measured.macs:,} multiply-accumulates an image",
        soft_wrap=True,
    )
    for result in measured.runtimes:
        console.print(_line(result), markup=False, soft_wrap=True)
    return _OK if all(result.status == "ok" for result in measured.runtimes) else _FAILED


def stated_by(path: Path, option: str) -> dict[str, Any]:
    """The metadata of a row's artifact, given after `option`.

    Raises:
        UsageError: the file is missing, a folder, damaged, or no row's.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path}: that is a folder: give one file of a run's artifacts/, which end in .nnc")
    if not path.is_file():
        raise UsageError(f"{option} {path}: there is no such file")
    metadata = artifact.read_metadata(path)
    if "data" not in metadata:
        raise UsageError(f"{option} {path}: not an artifact of a run, it names no data set: give a file of artifacts/")
    return metadata


def data_request(metadata: dict[str, Any], options: Options) -> dict[str, Any]:
    """Arguments of `baselines.data.load`: the data set looked for where it was, or where `options` say."""
    request = dict(metadata["data"])
    request["data_dir"] = str((options.data_dir or Path(request["data_dir"])).resolve())
    return request


def _line(result: RuntimeResult) -> str:
    if result.status != "ok":
        return f"{result.runtime}: {result.status}: {result.reason}"
    parts = []
    if result.accuracy:
        score = result.accuracy
        parts.append(f"{score.correct} of {score.seen} correct ({100 * score.correct / score.seen:.2f} %)")
    for measurement in result.measurements:
        if measurement.quantity == "latency":
            median = 1000 * statistics.median(measurement.samples)
            parts.append(f"batch {measurement.protocol['batch']}: {median:.2f} ms")
        elif measurement.quantity == "peak_memory":
            parts.append(f"peak memory {max(measurement.samples) / 1e6:.0f} MB")
    return f"{result.runtime}: {', '.join(parts)} [{result.kernels}]"
