"""What the scoring process does: reads the file, opens the test split, and puts every runtime through both.

Imports torch; only the measuring process loads this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines import data as datasets
from baselines.errors import UsageError, nearest
from bench.artifact import Artifact, load
from bench.logit_error import logit_error
from bench.measure import accuracy
from bench.measure.deployment import prepared
from bench.measure.energy import energy
from bench.measure.latency import Sampling, interleaved, latency
from bench.measure.logits import FirstLogits, logits_as_read
from bench.measure.macs import count_macs
from bench.measure.messages import ScoreAnswer, ScoreRequest
from bench.measure.nonzeros import weight_bytes
from bench.measure.nvml import cuda_uuid, open_gpu
from bench.records import Accuracy, Measurement, RuntimeResult
from bench.runtimes import RUNTIMES, Runtime, RuntimeFailure, Session

Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """What a runtime is put through."""

    artifact: Artifact
    dense: Artifact | None
    data: datasets.ImageData
    request: ScoreRequest
    say: Say

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.artifact.metadata["input_shape"])

    @property
    def batch(self) -> int:
        """Images that go through at once where time is not taken."""
        return max(self.request.batches)


@dataclass(frozen=True)
class Reference:
    """What eager predicts, which the other runtimes are held against, or why that is not known."""

    accuracy: Accuracy | None = None
    logits: NDArray[np.float32] | None = None  # of the first images, [n, classes]
    reason: str = ""


def score(request: ScoreRequest, say: Say) -> ScoreAnswer:
    """The numbers of one artifact.

    Raises:
        UsageError: the file is damaged, a runtime's name is unknown, or the data set is missing or not the file's.
    """
    for name in request.runtimes:
        if name not in RUNTIMES:
            raise UsageError(f"unknown runtime {name!r}: {nearest(name, RUNTIMES)}")
    torch.set_num_threads(request.threads)
    say("reading")
    artifact = load(Path(request.artifact))
    dense = None if request.dense is None else load(Path(request.dense))
    subject = Subject(artifact, dense, open_data(request.data, artifact.metadata), request, say)
    macs = count_macs(artifact.model, subject.input_shape)
    results, deployed, labels = _all_runtimes(subject)
    return ScoreAnswer(
        ledger=artifact.ledger,
        file_bytes=artifact.file_bytes,
        sha256=artifact.sha256,
        macs=macs.total,
        nonzero_macs=macs.nonzero,
        weight_bytes=weight_bytes(artifact.model),
        input_shape=subject.input_shape,
        runtimes=results,
        deployed=deployed,
        gpu_uuid=cuda_uuid(request.device),
        test_labels=labels,
        class_names=tuple(artifact.metadata.get("class_names", ())),
    )


def open_data(arguments: dict[str, Any], stated: dict[str, Any]) -> datasets.ImageData:
    """The data set, if images come out as the network was trained to see them.

    Raises:
        UsageError: it is missing, or differs in shape, classes or normalisation from what the file states.
    """
    rest = dict(arguments)
    name, data_dir = rest.pop("name"), Path(rest.pop("data_dir"))
    data = datasets.load(name, data_dir=data_dir, **rest)
    for what, here, there in (
        ("classes", [data.classes], [stated["classes"]]),
        ("input shape", list(data.input_shape), stated["input_shape"]),
        ("mean", data.mean, stated["mean"]),
        ("standard deviation", data.std, stated["std"]),
    ):
        if len(here) != len(there) or not np.allclose(here, there, rtol=1e-4, atol=1e-6):
            raise UsageError(
                f"data set {name} has {what} {_plain(here)}, the file was made for {_plain(there)}: "
                "give the data set, size and seed that it was made with"
            )
    return data


def _plain(values: Any) -> str:
    return ", ".join(f"{float(value):g}" for value in values)


def _all_runtimes(subject: Subject) -> tuple[tuple[RuntimeResult, ...], dict[str, str | None], str]:
    """Results in the order asked for, files deployed, and the test split's labels. Eager comes first, asked for or not:
    the others are held against it."""
    names = subject.request.runtimes
    results: dict[str, RuntimeResult] = {}
    deployed: dict[str, str | None] = {}
    labels = ""
    reference = Reference() if "eager" in names or not names else _eager_reference(subject)
    for name in sorted(names, key=lambda one: one != "eager"):
        tried = _try(RUNTIMES[name], subject, reference)
        results[name] = tried.result
        labels = labels or tried.labels
        if name == "eager":
            reference = Reference(tried.result.accuracy, tried.logits, tried.result.reason)
        if tried.result.status == "ok":
            deployed[name] = None if tried.deployed is None else str(tried.deployed)
    return tuple(results[name] for name in names), deployed, labels


def _eager_reference(subject: Subject) -> Reference:
    subject.say("accuracy eager")
    try:
        session = _session(RUNTIMES["eager"], subject.artifact, None, subject.request)
        counts, logits, _ = _scored(session, subject)
        return Reference(counts, logits)
    except Exception as error:  # eager was not asked for: the runtimes that were lack their agreement and say why
        return Reference(reason=one_line(error))


@dataclass(frozen=True)
class Tried:
    """What came of one runtime."""

    result: RuntimeResult
    deployed: Path | None = None  # the file that it ran from, where that is not the artifact
    logits: NDArray[np.float32] | None = None  # of the first images, [n, classes]
    labels: str = ""  # of all images, as records hold them


def _try(runtime: Runtime, subject: Subject, reference: Reference) -> Tried:
    """What `runtime` makes of the artifact. Whatever it raises becomes its result."""
    if reason := runtime.unavailable(subject.request.device):
        return Tried(RuntimeResult(runtime.name, "refused", reason))
    try:
        return _measured(runtime, subject, reference)
    except RuntimeFailure as error:
        return Tried(RuntimeResult(runtime.name, "refused", one_line(error)))
    except Exception as error:  # a runtime may raise anything; the others go on
        return Tried(RuntimeResult(runtime.name, "failed", f"{type(error).__name__}: {one_line(error)}"))


def one_line(error: Exception, limit: int = 400) -> str:
    """An error's message on one line of at most `limit` characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _measured(runtime: Runtime, subject: Subject, reference: Reference) -> Tried:
    request = subject.request
    subject.say(f"accuracy {runtime.name}")
    deployed = prepared(runtime, subject.artifact, Path(request.work))
    session = _session(runtime, subject.artifact, deployed, request)
    counts, logits, labels = _scored(session, subject)
    if runtime.name == "eager":
        reference = Reference(counts, logits_as_read(subject.artifact.model, _test_split(subject), request.device))
    sessions = [session]
    if subject.dense is not None:
        file = prepared(runtime, subject.dense, Path(request.work))
        sessions.append(_session(runtime, subject.dense, file, request))
    latencies = _latencies(runtime.name, sessions, subject)
    used, no_energy = _energy(session, subject)
    kernels = session.kernels()
    no_agreement = "" if reference.accuracy else f"no agreement: eager: {reference.reason}"
    result = RuntimeResult(
        runtime=runtime.name,
        status="ok",
        reason="; ".join(reason for reason in (no_agreement, no_energy) if reason),
        kernels=kernels.words(),
        kernel_counts=kernels.counts,
        kernel_notes=kernels.notes,
        accuracy=counts,
        measurements=latencies[0] + used,
        dense_measurements=latencies[1] if len(latencies) > 1 else (),
        agreement=None if reference.accuracy is None else accuracy.agreement(counts, reference.accuracy),
        logit_error=None if reference.logits is None else logit_error(logits, reference.logits),
    )
    return Tried(result, deployed, logits, labels)


def _scored(session: Session, subject: Subject) -> tuple[Accuracy, NDArray[np.float32], str]:
    """Counts over the whole test split, the logits of its first images, and all its labels, from one pass."""
    logits, labels = FirstLogits(), accuracy.Labels()
    counts = accuracy.score(session.run, labels.passing(_test_split(subject)), subject.batch, logits.add)
    return counts, logits.all(), labels.text()


def _session(runtime: Runtime, artifact: Artifact, deployed: Path | None, request: ScoreRequest) -> Session:
    return runtime.load(artifact.model, deployed, threads=request.threads, device=request.device)


def test_split(data: datasets.ImageData, batch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Images [n, c, h, w] and labels [n] of the whole test split, at most `batch` at once."""
    for images, labels in data.batches("test", batch, device="cpu"):
        yield np.ascontiguousarray(images.numpy()), labels.numpy()


def _test_split(subject: Subject) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    return test_split(subject.data, subject.batch)


def _images(subject: Subject, batch: int) -> NDArray[np.float32]:
    """The first `batch` test images, [batch, c, h, w]; repeated where the split is smaller."""
    images, _ = next(_test_split(subject))
    return np.ascontiguousarray(images[np.arange(batch) % len(images)])


def _latencies(name: str, sessions: list[Session], subject: Subject) -> list[tuple[Measurement, ...]]:
    """For each session, its latency at every batch size; samples of all sessions taken by turns."""
    request = subject.request
    found: list[list[Measurement]] = [[] for _ in sessions]
    for batch in request.batches:
        subject.say(f"latency {name} batch {batch}")
        images = _images(subject, batch)
        runs = [finished_run(session, images, request.device) for session in sessions]
        warmup, samples = interleaved(runs, Sampling.of(batch, request.latency_budget_s))
        protocol = {
            "batch": batch,
            "threads": request.threads,
            "warmup": warmup,
            "runtime": name,
            "device": request.device,
            "clock": "time.perf_counter",
            "interleaved": len(sessions) > 1,
        }
        for index, own in enumerate(samples):
            found[index].append(latency(own, protocol))
    return [tuple(one) for one in found]


def finished_run(session: Session, images: NDArray[np.float32], device: str) -> Callable[[], object]:
    """A pass whose end is the end of the work. On a GPU the copies of images and logits are part of it."""
    if not device.startswith("cuda"):
        return lambda: session.run(images)

    def run() -> None:
        session.run(images)
        torch.cuda.synchronize(device)

    return run


def _energy(session: Session, subject: Subject) -> tuple[tuple[Measurement, ...], str]:
    """Joules for each image on a GPU, or why they are not known; nothing on a CPU, which has no counter here."""
    device = subject.request.device
    uuid = cuda_uuid(device)
    if uuid is None:
        return (), ""
    run = finished_run(session, _images(subject, subject.batch), device)
    found = energy(open_gpu(uuid), run, subject.batch, device)
    if found.measurement is None:
        return (), f"no energy: {found.reason}"
    return (found.measurement,), ""
