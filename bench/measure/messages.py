"""What a measuring process is asked and what it answers, as plain data in JSON files. Standard library only: the
process that measures memory without torch reads them too."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.records import Accuracy, Measurement, RuntimeResult, TensorEntry, from_data, write_json

# what begins a line on a worker's standard output that is meant for the parent
PROGRESS = "@progress "
FORKED, ENDED = "@forked ", "@ended "  # of the server: the process that answers, and the code it ended with


@dataclass(frozen=True)
class ScoreRequest:
    """Accuracy, latency and energy of one artifact in every runtime asked for, and its size ledger and MACs."""

    artifact: str  # path of the file that the row is
    dense: str | None  # path of the dense artifact whose latency is interleaved, or None
    runtimes: tuple[str, ...]
    threads: int
    device: str
    data: dict[str, Any]  # arguments of baselines.data.load
    batches: tuple[int, ...]
    work: str  # folder for what runtimes deploy, kept from row to row
    latency_budget_s: float  # for each batch size and runtime, dense and compressed together


@dataclass(frozen=True)
class ScoreAnswer:
    """What the scoring process found."""

    ledger: tuple[TensorEntry, ...]
    file_bytes: int
    sha256: str
    macs: int
    input_shape: tuple[int, ...]  # [c, h, w]
    runtimes: tuple[RuntimeResult, ...]
    deployed: dict[str, str | None]  # file deployed by each runtime that ran; None where it ran from the artifact
    gpu_uuid: str | None  # of the device, as the driver writes it; None on a CPU
    nonzero_macs: int | None = None
    weight_bytes: int | None = None
    test_labels: str = ""  # as records hold them; empty where no runtime scored
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TimeRequest:
    """Latency of one artifact and of the dense one by turns, in one runtime, on made-up images: no data set is opened,
    so that who chooses by it has not seen the test split."""

    artifact: str
    dense: str
    runtime: str
    threads: int
    device: str
    batch: int
    work: str  # folder for what runtimes deploy
    budget_s: float


@dataclass(frozen=True)
class TimeAnswer:
    """Samples in seconds, as many of each; none where the runtime did not run, and why."""

    samples: tuple[float, ...]
    dense_samples: tuple[float, ...]
    reason: str


@dataclass(frozen=True)
class MemoryRequest:
    """Peak memory of one artifact in one runtime. With `deployed`, the process never imports torch."""

    runtime: str
    artifact: str
    deployed: str | None
    input_shape: tuple[int, ...]  # [c, h, w]
    batch: int
    threads: int
    device: str
    gpu_uuid: str | None


@dataclass(frozen=True)
class MemoryAnswer:
    """What the memory process found, and why something is missing."""

    measurements: tuple[Measurement, ...]
    reason: str


@dataclass(frozen=True)
class ReloadRequest:
    """Accuracy of an exported file, read without the artifact that it was made from."""

    form: str  # name of its format
    file: str
    threads: int
    data: dict[str, Any]  # arguments of baselines.data.load
    batch: int
    logits: str  # file that the logits of the first images go to, float32 [n, classes], as numpy writes them


@dataclass(frozen=True)
class ReloadAnswer:
    """What the exported file scores, or why it does not run."""

    accuracy: Accuracy | None
    reason: str


@dataclass(frozen=True)
class UsageAnswer:
    """The request cannot be served, for a reason that is the person's to mend."""

    message: str


Request = ScoreRequest | TimeRequest | MemoryRequest | ReloadRequest
Answer = ScoreAnswer | TimeAnswer | MemoryAnswer | ReloadAnswer | UsageAnswer
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        ScoreRequest, ScoreAnswer, TimeRequest, TimeAnswer, MemoryRequest, MemoryAnswer, ReloadRequest, ReloadAnswer,
        UsageAnswer,
    )
}  # fmt: skip


def say(line: str) -> None:
    """A line on standard output in one piece, also where Python buffers nothing: two processes may share the pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def write_message(message: Request | Answer, path: Path) -> None:
    """Writes a message with its kind, whole or not at all."""
    write_json({"kind": type(message).__name__, "content": asdict(message)}, path)


def read_message(path: Path) -> Any:
    """Reads what `write_message` wrote.

    Raises:
        KeyError, TypeError, ValueError: the file is not a message.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    return from_data(_KINDS[data["kind"]], data["content"])
