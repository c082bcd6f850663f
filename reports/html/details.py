"""What the page knows of one case: the ledger of its file, its training, its kernels and timings, as plain lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from bench.records import Measurement, RunRecord, RuntimeResult, TensorEntry
from reports.cells import bytes_text, rounded
from reports.curves import stage_logs
from reports.html.lines import Line
from reports.ledger import PARTS
from reports.page import flat
from reports.rows import find
from reports.statistics import quartiles

DIGITS = 6  # of what is only drawn
_SMALL, _FACTORS = 1e-4, {"s": (1000.0, "ms")}


class Texts:
    """Texts that are said once, and otherwise named by their number."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self._found.setdefault(text, len(self._found))

    @property
    def all(self) -> list[str]:
        return list(self._found)


def case_of(one: RunRecord, row: int, lines: Iterable[Line], texts: Texts, *, layers: int | None) -> dict[str, Any]:
    """One case. layers: how many layers its ledger shows, each as one line; None shows every tensor of all."""
    of = {line.runtime: line for line in lines if line.case_id == one.case_id}
    case = {
        "id": one.case_id, "row": row, "seed": one.seed, "status": one.status, "reason": one.reason,
        "file": one.artifact, "sha256": one.sha256, "bytes": one.file_bytes, "notes": list(one.notes),
        "runtimes": [_runtime(result, of.get(result.runtime), texts) for result in one.runtimes],
    }  # fmt: skip
    if one.ledger:
        entries = list(one.ledger) if layers is None else by_layer(one.ledger, layers)
        case["ledger"] = _ledger(entries, texts)
    if logs := stage_logs(one):
        case["training"] = {
            "stage": [texts(log.stage) for log in logs],
            "epoch": [log.epoch for log in logs],
            "loss": [short(log.train_loss) for log in logs],
            "train": [short(log.train_accuracy) for log in logs],
            "validation": [short(log.validation_accuracy) for log in logs],
            "lr": [short(log.lr) for log in logs],
        }
    if one.steps:
        case["steps"] = [
            [texts(s.stage), s.step, s.steps, *map(short, (s.sparsity, s.accuracy_before, s.accuracy_after))]
            for s in one.steps
        ]
    return case


def by_layer(ledger: Sequence[TensorEntry], most: int) -> list[TensorEntry]:
    """The ledger with one line a layer, the `most` largest by name and the rest as one, which sums to the same."""
    layers: dict[str, list[TensorEntry]] = {}
    for entry in ledger:
        layers.setdefault(entry.layer, []).append(entry)
    merged = [_sum(layer, f"{len(of)} tensors", of) if len(of) > 1 else of[0] for layer, of in layers.items()]
    largest = {one.layer for one in sorted(merged, key=lambda one: -one.bytes)[:most]}
    rest = [one for one in merged if one.layer not in largest]
    kept = [one for one in merged if one.layer in largest]
    return [*kept, _sum(f"(the {len(rest)} others)", "", rest)] if rest else kept


def _sum(layer: str, tensor: str, of: Sequence[TensorEntry]) -> TensorEntry:
    codecs = " / ".join(dict.fromkeys(one.codec for one in of if one.codec))
    totals = {
        name: sum(getattr(one, name) for one in of)
        for name in ("parameters", "nonzeros", "information_bits", "bytes", *PARTS)
    }
    return TensorEntry(layer, tensor, (), codecs, **totals)


def _ledger(entries: Sequence[TensorEntry], texts: Texts) -> dict[str, list[Any]]:
    return {
        "layer": [texts(one.layer) for one in entries],
        "tensor": [texts(one.tensor) for one in entries],
        "shape": [texts("×".join(map(str, one.shape))) for one in entries],
        "codec": [texts(one.codec) for one in entries],
        "parameters": [one.parameters for one in entries],
        "nonzeros": [one.nonzeros for one in entries],
        "bits": [round(one.information_bits) for one in entries],
        "bytes": [one.bytes for one in entries],
        "parts": [[getattr(one, part) for one in entries] for part in PARTS],
    }


def _runtime(result: RuntimeResult, line: Line | None, texts: Texts) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": result.runtime, "status": result.status, "reason": result.reason, "kernels": texts(result.kernels),
        "counts": [[texts(one.precision), texts(one.kernel), one.calls] for one in result.kernel_counts],
        "notes": [texts(note) for note in result.kernel_notes],
        "agreement": short(result.agreement), "logit_error": short(result.logit_error),
        "timings": [_timing(taken, result, texts) for taken in result.measurements],
    }  # fmt: skip
    if line:
        found["why"] = [[batch, texts(why)] for batch in (1, 32) if (why := line.texts[f"why_b{batch}"])]
    return found


def _timing(taken: Measurement, result: RuntimeResult, texts: Texts) -> list[Any]:
    """[quantity, batch, samples, median with quartiles, the dense network's, protocol]."""
    batch = taken.protocol.get("batch")
    beside = find(result.dense_measurements, taken.quantity, batch)
    protocol = flat({key: value for key, value in taken.protocol.items() if key != "batch"})
    return [
        texts(taken.quantity.replace("_", " ")), batch, len(taken.samples), texts(_spread(taken)),
        texts(_spread(beside)) if beside else None, texts("; ".join(f"{key}: {v}" for key, v in protocol.items())),
    ]  # fmt: skip


def _spread(taken: Measurement) -> str:
    """Median and quartiles in words: 1.23 (1.20 to 1.31) ms."""
    of = quartiles(taken.samples)
    if taken.unit == "B":
        return bytes_text(of.median)
    factor, unit = _FACTORS.get(taken.unit, (1.0, taken.unit))
    if len(taken.samples) < 2:
        return f"{rounded(factor * of.median)} {unit}"
    low, middle, high = (rounded(factor * side) for side in (of.low, of.median, of.high))
    return f"{middle} ({low} to {high}) {unit}"


def short(value: float | None) -> float | None:
    """To DIGITS digits; None of what is not known or not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")
