"""What trackers are told of a row: all of it from its record. Standard library only.

Final measures have the names and units of the report's `table.csv`, after their runtime: `eager/latency_ms_b1`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from bench.records import Measurement, RunRecord, RuntimeResult

DENSE = "dense"
# quantity: (name in the table, factor to its unit); others are named by quantity and unit
_NAMED = {
    "latency": ("latency_ms", 1000.0),
    "throughput": ("throughput", 1.0),
    "peak_memory": ("peak_memory_bytes", 1.0),
    "energy": ("energy_j", 1.0),
}
_UNITS = {"s": "s", "B": "bytes", "J": "j", "1/s": "per_s"}
_BY_BATCH = ("latency", "throughput")


@dataclass(frozen=True)
class Point:
    """One value of a curve."""

    name: str
    value: float
    step: int  # from 1, over all stages of the row
    after_s: float  # seconds of training before it


@dataclass(frozen=True)
class Row:
    """One case as it is logged. Texts and numbers only."""

    case_id: str
    name: str
    place: str  # network and data set
    status: str
    reason: str
    params: dict[str, str]  # what the row was made by; the same whenever it is made again
    curves: tuple[Point, ...]
    measures: dict[str, float]
    facts: dict[str, str]  # about the making: what ran, versions, commit
    began: float | None  # seconds since 1970; None where the record has no date
    ended: float | None
    artifact: str  # path from the run's folder, empty where there is none
    sha256: str

    @property
    def digest(self) -> str:
        """Hashes everything that is logged."""
        return digest(dataclasses.asdict(self))


def digest(data: object) -> str:
    """The first 16 hex digits of the SHA-256 of `data` as JSON."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode("utf-8")).hexdigest()[:16]


def row_of(record: RunRecord, dense: RunRecord | None) -> Row:
    """What is logged of `record`.

    dense: the record of the dense network of the same seed, None while it is not known; what is told beside it is then
    left out.
    """
    began, ended = _times(record)
    return Row(
        case_id=record.case_id,
        name=f"{record.label} seed {record.seed}",
        place=place(record),
        status=record.status,
        reason=record.reason,
        params=_params(record),
        curves=tuple(point for point in (*_epochs(record), *_steps(record)) if math.isfinite(point.value)),
        measures={name: float(value) for name, value in _measures(record, dense) if math.isfinite(value)},
        facts=_facts(record),
        began=began,
        ended=ended,
        artifact=record.artifact,
        sha256=record.sha256,
    )


def place(record: RunRecord) -> str:
    """The network and data set that a record is of, in words."""
    return f"{record.net} on {record.dataset}"


def stages(chain: str) -> list[tuple[str, dict[str, str]]]:
    """Name and hyperparameters of each stage of a chain's canonical text; none of the dense network."""
    found = []
    for stage in _split(chain, "+") if chain != DENSE else ():
        name, *settings = _split(stage, ":")
        found.append((name, dict(setting.partition("=")[::2] for setting in settings)))
    return found


def _split(text: str, separator: str) -> list[str]:
    """The parts of `text` between separators that stand outside quotes (as `methods.quoting` writes them)."""
    return re.findall(rf"(?:[^{re.escape(separator)}'\"]|'[^']*'|\"[^\"]*\")+", text)


def _params(record: RunRecord) -> dict[str, str]:
    found: dict[str, object] = {
        "net": record.net,
        "dataset": record.dataset,
        "method": record.label,
        "chain": record.chain,
        "seed": record.seed,
        "role": record.role,
        "device": record.environment.get("device", ""),
        "threads": record.environment.get("threads", ""),
    }
    if record.control_of:
        found["control_of"] = " | ".join(record.control_of)
    for number, (name, settings) in enumerate(stages(record.chain), start=1):
        found[f"stage{number}.method"] = name
        found |= {f"stage{number}.{key}": value for key, value in settings.items()}
    found |= {f"recipe.{key}": value for key, value in record.recipe.items()}
    for number, (stage, first, last) in enumerate(_spans(record), start=1):
        found[f"training.part{number}"] = f"epochs {first} to {last}: {stage}"
    return {name: str(value) for name, value in found.items()}


def _spans(record: RunRecord) -> list[tuple[str, int, int]]:
    """Stage, first and last running epoch of each training of a row. A stage that trains again begins at epoch 1."""
    found: list[tuple[str, int, int]] = []
    for step, log in enumerate(record.training, start=1):
        if found and found[-1][0] == log.stage and log.epoch > 1:
            found[-1] = (log.stage, found[-1][1], step)
        else:
            found.append((log.stage, step, step))
    return found


def _epochs(record: RunRecord) -> Iterator[Point]:
    after_s = 0.0
    for step, log in enumerate(record.training, start=1):
        after_s += log.seconds
        values = {
            "loss": log.train_loss,
            "accuracy": log.train_accuracy,
            "validation_accuracy": log.validation_accuracy,
            "lr": log.lr,
            "seconds": log.seconds,
        }
        for name, value in values.items():
            yield Point(f"training/{name}", float(value), step, after_s)


def _steps(record: RunRecord) -> Iterator[Point]:
    """Those of methods that go on in steps, such as iterative pruning."""
    after_s = sum(log.seconds for log in record.training)
    for step, log in enumerate(record.steps, start=1):
        values = {
            "sparsity": log.sparsity,
            "accuracy_before": log.accuracy_before,  # not a number where it prunes while it trains
            "accuracy_after": log.accuracy_after,
        }
        for name, value in values.items():
            yield Point(f"steps/{name}", float(value), step, after_s)


def _measures(record: RunRecord, dense: RunRecord | None) -> Iterator[tuple[str, float]]:
    if record.status != "ok":
        return
    for name in ("file_bytes", "parameters", "nonzeros", "information_bits", "macs", "compress_s"):
        yield name, getattr(record, name)
    for name in ("nonzero_macs", "weight_bytes", "validation_accuracy"):
        if (value := getattr(record, name)) is not None:
            yield name, value
    yield "extra_epochs", sum(log.stage != DENSE for log in record.training)
    if dense and dense.status == "ok" and record.file_bytes:
        yield "compression_ratio", dense.file_bytes / record.file_bytes
    known = {result.runtime: result for result in dense.runtimes} if dense else {}
    for result in record.runtimes:
        for name, value in _measures_in(result, known.get(result.runtime)):
            yield f"{result.runtime}/{name}", value


def _measures_in(result: RuntimeResult, dense: RuntimeResult | None) -> Iterator[tuple[str, float]]:
    """Of one runtime. What did not run has none."""
    if result.status != "ok":
        return
    if (score := result.accuracy) and score.seen:
        yield "accuracy", score.correct / score.seen
        yield "top5", score.top5_correct / score.seen
        if dense and dense.accuracy and dense.accuracy.seen:
            yield "accuracy_drop", dense.accuracy.correct / dense.accuracy.seen - score.correct / score.seen
        for name, value in (("ece", score.calibration_error), ("log_loss", score.log_loss)):
            if value is not None:
                yield name, value
    for name, value in (("agreement", result.agreement), ("logit_error", result.logit_error)):
        if value is not None:
            yield name, value
    beside = {_name(one): one for one in result.dense_measurements}
    for one in result.measurements:
        if not one.samples:
            continue
        own = median(one.samples)
        yield _name(one), own * _NAMED.get(one.quantity, ("", 1.0))[1]
        other = beside.get(_name(one))
        if one.quantity == "latency" and other and other.samples and own > 0:
            yield f"dense_{_name(one)}", 1000 * median(other.samples)
            yield f"speedup_b{one.protocol.get('batch')}", median(other.samples) / own


def _name(one: Measurement) -> str:
    unit = _UNITS.get(one.unit, re.sub(r"\W+", "_", one.unit))
    name = _NAMED[one.quantity][0] if one.quantity in _NAMED else f"{one.quantity}_{unit}"
    return f"{name}_b{one.protocol.get('batch')}" if one.quantity in _BY_BATCH else name


def _facts(record: RunRecord) -> dict[str, str]:
    around = record.environment
    found = {"status": record.status, "reason": record.reason, "case_id": record.case_id, "sha256": record.sha256}
    for result in record.runtimes:
        if result.status != "ok":
            found |= {f"status.{result.runtime}": result.status, f"reason.{result.runtime}": result.reason}
        elif result.kernels:
            found[f"kernels.{result.runtime}"] = result.kernels
    found |= versions(record)
    cpu, gpus = around.get("cpu"), around.get("gpus")
    if isinstance(cpu, dict):
        found["cpu"] = str(cpu.get("model", ""))
    if gpus:
        found["gpus"] = ", ".join(str(one.get("name", "")) for one in gpus)
    return {name: value for name, value in found.items() if value}


def versions(record: RunRecord) -> dict[str, str]:
    """Commit and versions that a record was made with."""
    around = record.environment
    found = {"commit": around.get("commit"), "version.python": around.get("python"), "os": around.get("os")}
    if around.get("commit_dirty") is not None:
        found["commit_dirty"] = around["commit_dirty"]
    found |= {f"version.{name}": version for name, version in around.get("packages", {}).items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def _times(record: RunRecord) -> tuple[float | None, float | None]:
    """When its training began, counting back as if nothing had been kept from before, and when its record was made."""
    try:
        ended = datetime.fromisoformat(str(record.environment.get("date"))).timestamp()
    except ValueError:
        return None, None
    dense_s = sum(log.seconds for log in record.training if log.stage == DENSE)
    others_s = sum(log.seconds for log in record.training if log.stage != DENSE)  # part of the seconds of compressing
    return ended - dense_s - max(others_s, record.compress_s), ended
