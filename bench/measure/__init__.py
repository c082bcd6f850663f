"""Measures one artifact: its file in, numbers out, all taken by fresh processes.

This package and what it imports on loading stay free of torch, so that a process can measure the memory of a runtime
that does not need it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure.messages import MemoryAnswer, MemoryRequest, ScoreAnswer, ScoreRequest
from bench.measure.params import size_of
from bench.measure.process import MeasureError, Server, ask
from bench.records import RuntimeResult, TensorEntry

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """Everything that was measured of one artifact."""

    parameters: int
    nonzeros: int
    information_bits: float
    macs: int  # of one image
    nonzero_macs: int | None
    weight_bytes: int | None
    file_bytes: int
    sha256: str
    ledger: tuple[TensorEntry, ...]
    runtimes: tuple[RuntimeResult, ...]  # in the order asked for
    test_labels: str  # class of each test image, as records hold it; empty where no runtime scored
    class_names: tuple[str, ...]


def measure(
    artifact: Path,
    dense: Path | None,
    *,
    runtimes: tuple[str, ...],
    threads: int,
    device: str,
    data: dict[str, Any],
    batches: tuple[int, ...] = (1, 32),
    work: Path | None = None,
    progress: Progress = lambda text: None,
    latency_budget_s: float = 1.0,
    timeout_s: float = 3600.0,
    server: Server | None = None,
) -> Measured:
    """Measures the file `artifact` in every one of `runtimes`.

    dense: the dense artifact whose latency is taken by turns with this one's; None for the dense row itself.
    data: arguments of `baselines.data.load`; accuracy is over its whole test split.
    work: folder that keeps what runtimes deploy (an exported graph) from row to row; None makes it again.
    latency_budget_s: aimed at for each runtime and batch size, dense and compressed together.
    timeout_s: of each fresh process.
    server: forks the scoring processes, which saves the imports of each; ignored on a GPU, which cannot be forked.

    A runtime that is absent or breaks is a refused or failed result beside the others'.

    Raises:
        UsageError: the file is damaged, or the data set is missing or not the file's.
        MeasureError: the process died before any runtime could be tried.
    """
    if work is None:
        with tempfile.TemporaryDirectory(prefix="deployed-") as folder:
            return measure(
                artifact, dense, runtimes=runtimes, threads=threads, device=device, data=data, batches=batches,
                work=Path(folder), progress=progress, latency_budget_s=latency_budget_s, timeout_s=timeout_s,
                server=server,
            )  # fmt: skip
    request = ScoreRequest(
        artifact=str(artifact.resolve()),
        dense=None if dense is None else str(dense.resolve()),
        runtimes=runtimes,
        threads=threads,
        device=device,
        data=data,
        batches=batches,
        work=str(work.resolve()),
        latency_budget_s=latency_budget_s,
    )
    answer = _scored(request, progress, timeout_s, server if device == "cpu" else None)
    results = tuple(_with_memory(result, answer, request, progress, timeout_s) for result in answer.runtimes)
    return Measured(
        **dataclasses.asdict(size_of(answer.ledger, answer.file_bytes)),
        macs=answer.macs,
        nonzero_macs=answer.nonzero_macs,
        weight_bytes=answer.weight_bytes,
        sha256=answer.sha256,
        ledger=answer.ledger,
        runtimes=results,
        test_labels=answer.test_labels,
        class_names=answer.class_names,
    )


def _scored(request: ScoreRequest, progress: Progress, timeout_s: float, server: Server | None) -> ScoreAnswer:
    """One process for all runtimes; if a runtime kills it, one for each, so that the others go on."""
    try:
        return ask(request, progress=progress, timeout_s=timeout_s, server=server)
    except MeasureError:
        answer = ask(dataclasses.replace(request, runtimes=()), progress=progress, timeout_s=timeout_s, server=server)
    for name in request.runtimes:
        try:
            alone = ask(
                dataclasses.replace(request, runtimes=(name,)), progress=progress, timeout_s=timeout_s, server=server
            )
        except MeasureError as error:
            results, deployed, labels = (RuntimeResult(name, "failed", str(error)),), {}, ""
        else:
            results, deployed, labels = alone.runtimes, alone.deployed, alone.test_labels
        answer = dataclasses.replace(
            answer,
            runtimes=answer.runtimes + results,
            deployed={**answer.deployed, **deployed},
            test_labels=answer.test_labels or labels,
        )
    return answer


def _with_memory(
    result: RuntimeResult, answer: ScoreAnswer, request: ScoreRequest, progress: Progress, timeout_s: float
) -> RuntimeResult:
    """`result` with the memory of a process of its own; without it, and saying why, if that process dies."""
    if result.status != "ok":
        return result
    progress(f"memory {result.runtime}")
    question = MemoryRequest(
        runtime=result.runtime,
        artifact=request.artifact,
        deployed=answer.deployed[result.runtime],
        input_shape=answer.input_shape,
        batch=max(request.batches),
        threads=request.threads,
        device=request.device,
        gpu_uuid=answer.gpu_uuid,
    )
    try:
        found = ask(question, progress=progress, timeout_s=timeout_s)
    except MeasureError as error:
        found = MemoryAnswer((), f"no memory: {error}")
    return dataclasses.replace(
        result,
        reason="; ".join(reason for reason in (result.reason, found.reason) if reason),
        measurements=result.measurements + found.measurements,
    )


__all__ = ["MeasureError", "Measured", "Server", "measure"]
