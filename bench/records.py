"""What a run leaves behind: one record a case, in plain data. Standard library only.

Raw samples are stored, statistics are derived from them. A failure and a refusal are records too, with their reason.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import types
import typing
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from baselines.parts import part_of

SCHEMA = 1
ALIKE = 0.995  # share of test predictions in common from which on two runtimes are taken to compute the same
Status = Literal["ok", "failed", "refused"]
# Why a row is there: asked for, or added to be compared with. "longer": dense, trained for as many extra epochs;
# "small": a narrower dense network of the same bytes; "random": pruned at random at the same layer-wise rates; "half":
# 16-bit dense; "xz": the dense file by a general compressor; "untaught": the same without its teacher; "part": a
# method of a chain alone; "order": a chain in another order.
Role = Literal["asked", "longer", "small", "random", "half", "xz", "untaught", "part", "order"]
Record = TypeVar("Record")
DEFLATED = "z:"  # before classes of images whose bytes are deflated
SIMULATED_INT8 = "int8 simulated"  # notes on kernels by which reports tell what happened
FORMS_WEIGHTS = "some of them form weights anew in each pass"
EXACT_INT8 = "u8u8 kernels: u8s8 would saturate on this processor"


class RecordError(ValueError):
    """A record that cannot be read: damaged, or of another schema. The message names the file and what to do."""


@dataclass(frozen=True)
class Measurement:
    """Raw samples of one quantity and how they were taken."""

    quantity: str  # "latency", "peak_memory", "gpu_memory_allocator", "gpu_memory_nvml", "energy", "throughput"
    unit: str  # "s", "B", "J", "1/s"
    samples: tuple[float, ...]
    protocol: dict[str, Any] = field(default_factory=dict)  # {"batch": 1, "threads": 1, "warmup": 10, ...}


@dataclass(frozen=True)
class Accuracy:
    """Counts over the whole split; accuracy is correct / seen."""

    correct: int
    top5_correct: int
    seen: int
    predictions: str = ""  # class of each image in order, as `bench.measure.accuracy.encode` writes it
    calibration_error: float | None = None  # expected, 15 bins, in [0, 1] (bench/measure/calibration.py)
    log_loss: float | None = None  # mean negative log likelihood of the labels, nats; records from before have neither


@dataclass(frozen=True)
class TensorEntry:
    """One stored tensor of the artifact: a line of the size ledger. The ledger sums exactly to the file's bytes."""

    layer: str  # path of the layer; "(container)" for header, graph and checksums
    tensor: str
    shape: tuple[int, ...]
    codec: str
    parameters: int  # stored values; 0 for scales, zero points and what is not a parameter
    nonzeros: int
    information_bits: (
        float  # least bits that the values take, their histogram described (bench/artifact/information.py)
    )
    bytes: int
    # what the bytes are spent on, which sums to `bytes`; records from before have zeros
    values_bytes: int = 0
    indices_bytes: int = 0  # which values are zero, of a tensor that is mostly zero
    codebooks_bytes: int = 0
    scales_bytes: int = 0  # and zero points
    header_bytes: int = 0  # how to read the rest: header, graph, checksums, codecs' parameters


@dataclass(frozen=True)
class KernelCount:
    """Calls of one kernel in one pass, of those that multiply."""

    precision: str  # of what is multiplied: "int8", "fp16", "bf16", "fp32", "fp64"; "unknown" where it cannot be read
    kernel: str  # as the runtime names it: "QLinearConv", "aten.convolution"
    calls: int


@dataclass(frozen=True)
class RuntimeResult:
    """What one runtime made of the artifact, in a process of its own."""

    runtime: str
    status: Status
    reason: str = ""
    kernels: str = ""  # what ran, in words: "int8 QLinearConv x20, fp32 x1", "fp32 dense fallback"
    accuracy: Accuracy | None = None
    measurements: tuple[Measurement, ...] = ()
    dense_measurements: tuple[Measurement, ...] = ()  # the dense artifact's latency, interleaved in the same process
    agreement: float | None = None  # share of test predictions equal to the eager reference's
    # root mean square difference from the eager reference's logits, in their standard deviations over the images;
    # eager's own from the logits of the network as it was read
    logit_error: float | None = None
    kernel_counts: tuple[KernelCount, ...] = ()  # what `kernels` says, as data; records from before have none
    kernel_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpochLog:
    """One epoch of one stage's training."""

    stage: str  # "dense" or the method's text, "dct:keep=0.25"
    epoch: int  # from 1
    epochs: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_accuracy: float
    seconds: float
    samples: int
    processes: int = 1  # that trained together; records from before have no other


@dataclass(frozen=True)
class StepLog:
    """One step of a stage that goes on in steps, such as iterative pruning. Accuracies are of the validation part."""

    stage: str  # the method's text
    step: int  # from 1
    steps: int
    sparsity: float  # share of what it acts on that is zero, or gone, after the step
    accuracy_before: float  # after the step, before it is fine-tuned; not a number where it prunes while it trains
    accuracy_after: float


@dataclass(frozen=True)
class RunRecord:
    """One row: one case, one file."""

    case_id: str
    net: str
    dataset: str
    chain: str  # canonical text of the chain with every hyperparameter; "dense" for the reference
    label: str  # short text, as typed
    seed: int
    recipe: dict[str, Any]
    status: Status
    reason: str = ""
    artifact: str = ""  # path relative to the run's folder
    sha256: str = ""
    file_bytes: int = 0
    parameters: int = 0
    nonzeros: int = 0
    information_bits: float = 0.0
    macs: int = 0  # of one image
    compress_s: float = 0.0  # all stages, fine-tuning included
    validation_accuracy: float | None = None
    ledger: tuple[TensorEntry, ...] = ()
    training: tuple[EpochLog, ...] = ()
    runtimes: tuple[RuntimeResult, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)  # versions, machine, threads, commit
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA
    nonzero_macs: int | None = None  # of `macs`, those by a weight that is not zero; None in records from before
    steps: tuple[StepLog, ...] = ()  # of stages that go on in steps
    weight_bytes: int | None = None  # of all stored parameters as dense codes of their width, zeros included
    role: Role = "asked"  # records from before have no other
    control_of: tuple[str, ...] = ()  # canonical texts of the chains that a row which was not asked for belongs to
    test_labels: str = ""  # class of each test image, written as predictions are and in their order
    class_names: tuple[str, ...] = ()


def class_bytes(text: str) -> bytes:
    """Classes of images, two bytes each, low byte first, from the text that a record holds: base64, with `z:` in front
    of bytes that are deflated.

    Raises:
        ValueError, zlib.error: the text is damaged.
    """
    raw = base64.b64decode(text.removeprefix(DEFLATED), validate=True)
    return zlib.decompress(raw) if text.startswith(DEFLATED) else raw


def write_json(data: Any, path: Path) -> None:
    """Writes JSON whole or not at all: a reader never sees half a file, also after a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    with part.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1, allow_nan=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def write_record(record: RunRecord, path: Path) -> None:
    """Writes one record atomically."""
    write_json(dataclasses.asdict(record), path)


def read_record(path: Path) -> RunRecord:
    """Reads one record.

    Raises:
        RecordError: the file is damaged, or its schema is not this code's.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        schema = data["schema"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged ({error}): delete it and run again") from error
    if schema != SCHEMA:
        raise RecordError(f"{path} has schema {schema}, this version reads {SCHEMA}: use another --out and run again")
    try:
        return from_data(RunRecord, data)
    except (TypeError, ValueError, KeyError) as error:
        raise RecordError(f"{path} is damaged ({error}): delete it and run again") from error


def from_data(kind: type[Record], data: Any) -> Record:
    """A dataclass of type `kind` from what `dataclasses.asdict` and JSON made of it.

    Raises:
        TypeError, ValueError: the data does not fit the type.
    """
    if not isinstance(data, dict):
        raise TypeError(f"expected {kind.__name__}, got {data!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _convert(hints[name], value) for name, value in data.items()})


def _convert(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(one for one in arguments if one is not type(None)), value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"expected a list, got {value!r}")
        return tuple(_convert(arguments[0], item) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"expected one of {arguments}, got {value!r}")
        return value
    if dataclasses.is_dataclass(hint):
        return from_data(hint, value)  # type: ignore[arg-type]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    if (expected is not Any and not isinstance(value, expected)) or (expected is int and isinstance(value, bool)):
        raise TypeError(f"expected {hint}, got {value!r}")
    return value
