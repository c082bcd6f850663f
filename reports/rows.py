"""Records -> one line per chain, seed and runtime, and their summary over seeds, as data frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from bench.intervals import UNBOUNDED, over_seeds, wilson
from bench.records import Measurement, RunRecord, RuntimeResult
from reports import theory
from reports.classes import beside_dense
from reports.columns import COLUMNS, NUMBER, SHARES, SUMMARISED, TEXT, WHOLE
from reports.roles import ASKED, labels_of, role_text
from reports.statistics import UNSTABLE_SPREAD, quartiles

Line = tuple[str, str]  # a case's id and a runtime
NO_MARKS: Mapping[Line, str] = MappingProxyType({})
DENSE = "dense"


def frame(records: Sequence[RunRecord], marks: Mapping[Line, str] = NO_MARKS) -> pd.DataFrame:
    """A line per chain, seed and runtime with the columns COLUMNS; the dense network first, then in the given order
    what was asked for, then its controls.

    marks: of lines that were told apart or not, among all rows of the run (`reports.marks`).

    Accuracies and their drops are fractions. What was not measured is missing, never 0: a failed or refused row has its
    reason only.
    """
    ordered = dense_first(records)
    references = {_place(one): one for one in ordered if one.chain == DENSE and one.status == "ok"}
    labels = labels_of(records)
    lines = [
        _line(one, result, references.get(_place(one)))
        | {"mark": marks.get((one.case_id, _name(result)), ""), "control": role_text(one, labels)}
        for one in ordered
        for result in one.runtimes or (None,)
    ]
    return _typed(lines, COLUMNS)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A line per chain and runtime: how many seeds went well, mean, standard deviation and 95 % interval of each of
    SUMMARISED over them (Student's t). `reason` is the first of those that did not."""
    lines = []
    for _, chain in table.groupby(["chain", "net", "dataset"], sort=False):
        for runtime in [name for name in dict.fromkeys(chain["runtime"]) if name] or [""]:
            group = chain[chain["runtime"].isin([runtime, ""])]  # a case that failed as a whole names no runtime
            lines.append(_summary_line(group, runtime))
    names = [f"{name}_{part}" for name in SUMMARISED for part in ("mean", "std", "low", "high")]
    columns = dict.fromkeys(("method", "runtime", "mark", "control"), TEXT) | dict.fromkeys(("seeds", "ok"), WHOLE)
    places = dict.fromkeys(("chain", "net", "dataset"), TEXT)
    return _typed(lines, columns | {"reason": TEXT} | dict.fromkeys(names, NUMBER) | places)


def several_seeds(table: pd.DataFrame) -> bool:
    """Whether a summary over seeds says more than the lines themselves."""
    return table["seed"].nunique() > 1


def several_places(table: pd.DataFrame) -> bool:
    """Whether there are rows of more than one network and data set."""
    return len(table[["net", "dataset"]].drop_duplicates()) > 1


def by_place(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records of each network and data set, by "NET on DATASET", in the order in which these come."""
    found: dict[str, list[RunRecord]] = {}
    for one in records:
        found.setdefault(f"{one.net} on {one.dataset}", []).append(one)
    return found


def dense_first(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records with the dense ones in front and those that were not asked for at the end, otherwise in the given
    order."""
    return sorted(records, key=lambda one: (one.chain != DENSE, one.role != ASKED))


def reference(one: RunRecord, records: Iterable[RunRecord]) -> RunRecord | None:
    """The dense record of the same net, data set and seed, or None where it is missing or went wrong."""
    return next((r for r in records if r.chain == DENSE and r.status == "ok" and _place(r) == _place(one)), None)


def extra_epochs(one: RunRecord) -> int:
    """Epochs that a row was trained for beyond its dense network."""
    return sum(log.stage != DENSE for log in one.training)


def processes(records: Iterable[RunRecord]) -> int:
    """Processes that trained a network of these records together; 1 where nothing was trained."""
    return max((log.processes for one in records for log in one.training), default=1)


def recipes(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """How the networks of the records were trained; the number of processes is part of it where there were several."""
    several = processes(records) > 1
    return [
        one.recipe | ({"processes": processes([one])} if several and one.training else {})
        for one in records
        if one.recipe
    ]


def find(measurements: Iterable[Measurement], quantity: str, batch: int | None = None) -> Measurement | None:
    """The first measurement of `quantity`, of that batch size where one is named."""
    for one in measurements:
        if one.quantity == quantity and (batch is None or one.protocol.get("batch") == batch):
            return one
    return None


def middle(measurement: Measurement | None) -> float:
    """The median of the samples in their unit; NaN where there is none."""
    return quartiles(measurement.samples).median if measurement else math.nan


def unstable(measurement: Measurement) -> bool:
    """Whether the samples spread too widely for their median to be trusted to a few per cent."""
    return quartiles(measurement.samples).spread > UNSTABLE_SPREAD


def same_runtime(record: RunRecord | None, runtime: str) -> RuntimeResult | None:
    """What `runtime` made of `record`, where it went well."""
    results = record.runtimes if record else ()
    return next((one for one in results if one.runtime == runtime and one.status == "ok"), None)


def first_scored(one: RunRecord) -> RuntimeResult | None:
    """The first runtime that scored the row."""
    return next((r for r in one.runtimes if r.status == "ok" and r.accuracy and r.accuracy.seen), None)


def _typed(lines: Sequence[dict[str, object]], columns: dict[str, str]) -> pd.DataFrame:
    """A frame with exactly `columns`; text that is missing is empty, numbers that are missing are missing."""
    data = pd.DataFrame(lines, columns=list(columns))
    texts = [name for name, kind in columns.items() if kind == TEXT]
    return data.astype(dict.fromkeys(texts, "object")).fillna(dict.fromkeys(texts, "")).astype(columns)


def _summary_line(group: pd.DataFrame, runtime: str) -> dict[str, object]:
    good = group[group["status"] == "ok"]
    reasons = [f"{line.status}: {line.reason}" for line in group.itertuples() if line.status != "ok"]
    line: dict[str, object] = {"method": group["method"].iloc[0], "runtime": runtime, "chain": group["chain"].iloc[0]}
    line |= {"seeds": len(group), "ok": len(good), "reason": reasons[0] if reasons else ""}
    line |= {"mark": next((mark for mark in group["mark"] if mark), ""), "control": group["control"].iloc[0]}
    line |= {"net": group["net"].iloc[0], "dataset": group["dataset"].iloc[0]}
    values = good[list(SUMMARISED)].to_numpy(dtype=float, na_value=math.nan)  # [seeds, quantities]
    for column, name in enumerate(SUMMARISED):
        limits = (0.0, 1.0) if name in SHARES else UNBOUNDED
        spread = over_seeds(values[:, column].tolist(), limits=limits)
        line |= {f"{name}_mean": spread.mean, f"{name}_std": spread.std}
        line |= {f"{name}_low": spread.low, f"{name}_high": spread.high}
    return line


def _place(one: RunRecord) -> tuple[str, str, int]:
    return one.net, one.dataset, one.seed


def _name(result: RuntimeResult | None) -> str:
    return result.runtime if result else ""


def _line(one: RunRecord, result: RuntimeResult | None, dense: RunRecord | None) -> dict[str, object]:
    line: dict[str, object] = {
        "method": one.label,
        "seed": one.seed,
        "status": one.status,
        "reason": one.reason,
        "runtime": _name(result),
        "chain": one.chain,
        "net": one.net,
        "dataset": one.dataset,
        "case_id": one.case_id,
        "role": one.role,
        "control_of": " | ".join(one.control_of),
    }
    if one.file_bytes:
        line |= _stored(one, dense)
    if result:
        if one.status == "ok":
            line |= {"status": result.status, "reason": result.reason or one.reason}
        beside = same_runtime(dense, result.runtime)
        line |= _measured(result, beside, is_dense=one.chain == DENSE)
        if dense and beside:
            line |= beside_dense(one, result, dense, beside)
    return line


def _stored(one: RunRecord, dense: RunRecord | None) -> dict[str, object]:
    return {
        "parameters": one.parameters,
        "nonzeros": one.nonzeros,
        "information_bits": one.information_bits,
        "file_bytes": one.file_bytes,
        "compression_ratio": dense.file_bytes / one.file_bytes if dense else math.nan,
        "macs": one.macs,
        "nonzero_macs": one.nonzero_macs,
        "weight_bytes": one.weight_bytes,
        "theoretical_speedup": theory.by_macs(one, dense),
        "theoretical_speedup_nonzero_macs": theory.by_nonzero_macs(one, dense),
        "theoretical_speedup_bytes": theory.by_bytes(one, dense),
        "compress_s": one.compress_s,
        "extra_epochs": extra_epochs(one),
        "artifact": one.artifact,
        "sha256": one.sha256,
        "validation_accuracy": one.validation_accuracy,
    }


def _measured(result: RuntimeResult, dense: RuntimeResult | None, *, is_dense: bool) -> dict[str, object]:
    own = result.measurements
    memory = find(own, "peak_memory")
    line: dict[str, object] = {
        "kernels": result.kernels,
        "agreement": result.agreement,
        "logit_error": result.logit_error,
        "throughput_b32": _throughput(own),
        "peak_memory_bytes": middle(memory),
        "memory_baseline_bytes": memory.protocol.get("baseline_bytes") if memory else None,
        "gpu_memory_bytes": middle(find(own, "gpu_memory_allocator") or find(own, "gpu_memory_nvml")),
        "energy_j": middle(find(own, "energy")),
        "timing": _timing_note(own),
    }
    for batch in (1, 32):
        latency = middle(find(own, "latency", batch))
        beside = middle(find(result.dense_measurements, "latency", batch))
        line[f"latency_ms_b{batch}"] = 1000 * latency
        line[f"speedup_b{batch}"] = (1.0 if latency > 0 else math.nan) if is_dense else beside / latency
    return line | _scored(result, dense)


def _throughput(measurements: Sequence[Measurement]) -> float:
    """Images a second in batches of 32: as measured, otherwise from the median latency of such a batch."""
    taken = find(measurements, "throughput", 32)
    return middle(taken) if taken else 32 / middle(find(measurements, "latency", 32))


def _scored(result: RuntimeResult, dense: RuntimeResult | None) -> dict[str, object]:
    if result.accuracy is None or not result.accuracy.seen:
        return {}
    correct, seen = result.accuracy.correct, result.accuracy.seen
    low, high = wilson(correct, seen)
    line: dict[str, object] = {"accuracy": correct / seen, "accuracy_low": low, "accuracy_high": high}
    line["top5"] = result.accuracy.top5_correct / seen
    line |= {"ece": result.accuracy.calibration_error, "log_loss": result.accuracy.log_loss}
    if dense and dense.accuracy and dense.accuracy.seen:
        line["accuracy_drop"] = dense.accuracy.correct / dense.accuracy.seen - correct / seen
    return line


def _timing_note(measurements: Iterable[Measurement]) -> str:
    """`unstable: batch 1 spreads 14 %` for every latency whose interquartile range is wide beside its median."""
    wide = [one for one in measurements if one.quantity == "latency" and unstable(one)]
    parts = [f"batch {m.protocol.get('batch', '?')} spreads {100 * quartiles(m.samples).spread:.0f} %" for m in wide]
    return "unstable: " + ", ".join(parts) if parts else ""
