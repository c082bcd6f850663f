"""A maker of realistic records for tests of the reports. Numbers are invented, shapes are those of real runs."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from pathlib import Path

from bench.records import (
    SIMULATED_INT8,
    Accuracy,
    EpochLog,
    KernelCount,
    Measurement,
    RunRecord,
    RuntimeResult,
    TensorEntry,
    write_json,
    write_record,
)

SEEN = 360
INT8_KERNELS = (KernelCount("int8", "QLinearConv", 20), KernelCount("fp32", "Gemm", 1))
FLOAT_KERNELS = (KernelCount("fp32", "Conv", 20), KernelCount("fp32", "Gemm", 1))
RECIPE = {"epochs": 6, "finetune_epochs": 2, "batch_size": 64, "lr": 0.1, "precision": "auto"}
ENVIRONMENT = {
    "python": "3.11.7",
    "torch": "2.13.0+cpu",
    "onnxruntime": "1.31.1",
    "machine": {"cpu": "Example CPU", "cores": 2, "memory_bytes": 16_000_000_000},
    "threads": 1,
    "commit": "0123456789abcdef",
}
# chain: (accuracy, share of the dense bytes, of the parameters, of the non-zeros, of the MACs, of the latency)
KINDS = {
    "dense": (0.983, 1.0, 1.0, 1.0, 1.0, 1.0),
    "dct": (0.972, 0.24, 0.25, 0.25, 0.45, 0.62),
    "ptq": (0.978, 0.255, 1.0, 0.98, 1.0, 0.31),
    "qat": (0.981, 0.255, 1.0, 0.98, 1.0, 0.3),
    "prune": (0.978, 0.13, 1.0, 0.1, 1.0, 1.01),
}


def resnet18_layers() -> list[tuple[str, tuple[int, ...]]]:
    """Paths and weight shapes of a resnet18 for small images with ten classes."""
    layers: list[tuple[str, tuple[int, ...]]] = [("conv1", (64, 3, 3, 3))]
    width = 64
    for stage, out in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            layers.append((f"layer{stage}.{block}.conv1", (out, width, 3, 3)))
            layers.append((f"layer{stage}.{block}.conv2", (out, out, 3, 3)))
            if width != out:
                layers.append((f"layer{stage}.{block}.downsample.0", (out, width, 1, 1)))
            width = out
    return [*layers, ("fc", (10, 512))]


def densenet_layers() -> list[tuple[str, tuple[int, ...]]]:
    """Paths and weight shapes of a network with 120 layers, densenet121's way of naming them."""
    layers: list[tuple[str, tuple[int, ...]]] = [("features.conv0", (64, 3, 7, 7))]
    width = 64
    for block, count in enumerate((6, 12, 24, 16), start=1):
        for index in range(1, count + 1):
            path = f"features.denseblock{block}.denselayer{index}"
            layers += [(f"{path}.conv1", (128, width, 1, 1)), (f"{path}.conv2", (32, 128, 3, 3))]
            width += 32
        if block < 4:
            layers.append((f"features.transition{block}.conv", (width // 2, width, 1, 1)))
            width //= 2
    return [*layers, ("classifier", (10, width))]


def record(
    chain: str,
    *,
    label: str = "",
    like: str = "",
    seed: int = 0,
    runtimes: Sequence[str] = ("eager", "onnxruntime"),
    layers: Sequence[tuple[str, tuple[int, ...]]] = (),
    accuracy: float | None = None,
    share: float | None = None,
    speed: float | None = None,
) -> RunRecord:
    """One case that went well. `like` names the kind of KINDS whose numbers it takes; the keywords override them."""
    kind = KINDS[like or chain.split(":")[0]]
    noise = random.Random(f"{chain} {seed}")
    score = min(1.0, max(0.0, (kind[0] if accuracy is None else accuracy) + noise.uniform(-0.004, 0.004)))
    ledger = _ledger(layers or resnet18_layers(), kind[1] if share is None else share, kind[2], kind[3])
    latency = kind[5] if speed is None else speed
    return RunRecord(
        case_id=f"case-{chain}-{seed}".replace(":", "_").replace("=", "_").replace("+", "_"),
        net="resnet18",
        dataset="digits",
        chain=chain,
        label=label or chain,
        seed=seed,
        recipe=dict(RECIPE),
        status="ok",
        artifact=f"artifacts/case-{chain}-{seed}.cnn",
        sha256=f"{noise.getrandbits(256):064x}",
        file_bytes=sum(entry.bytes for entry in ledger),
        parameters=sum(entry.parameters for entry in ledger),
        nonzeros=sum(entry.nonzeros for entry in ledger),
        information_bits=sum(entry.information_bits for entry in ledger),
        macs=int(555_000_000 * kind[4]),
        compress_s=0.0 if chain == "dense" else noise.uniform(9, 14),
        validation_accuracy=score + noise.uniform(-0.003, 0.003),
        ledger=ledger,
        training=_training(chain, score, noise),
        runtimes=tuple(_runtime(name, chain, score, latency, noise) for name in runtimes),
        environment=dict(ENVIRONMENT),
        nonzero_macs=int(555_000_000 * kind[4] * kind[3] / kind[2]),
        weight_bytes=sum(entry.parameters for entry in ledger) * (1 if _is_int8(chain) else 4),
    )


def failed(
    chain: str, *, status: str = "failed", reason: str = "the loss became nan in epoch 2", seed: int = 0
) -> RunRecord:
    """A case that left nothing but its reason."""
    return RunRecord(
        case_id=f"case-{chain}-{seed}",
        net="resnet18",
        dataset="digits",
        chain=chain,
        label=chain,
        seed=seed,
        recipe=dict(RECIPE),
        status=status,  # type: ignore[arg-type]
        reason=reason,
        environment=dict(ENVIRONMENT),
    )


def with_runtime(one: RunRecord, name: str, **changes: object) -> RunRecord:
    """The record with fields of its result in one runtime replaced."""
    results = tuple(dataclasses.replace(r, **changes) if r.runtime == name else r for r in one.runtimes)  # type: ignore[arg-type]
    return dataclasses.replace(one, runtimes=results)


def example(seeds: Sequence[int] = (0,), runtimes: Sequence[str] = ("eager", "onnxruntime")) -> list[RunRecord]:
    """Dense and four methods on resnet18, in plan order, for each seed."""
    return [record(chain, seed=seed, runtimes=runtimes) for seed in seeds for chain in KINDS]


def sweep() -> list[RunRecord]:
    """Dense and a sweep of twelve rows, four of them long chains, one far below dense."""
    rows = [record("dense")]
    for index, keep in enumerate((0.5, 0.25, 0.125, 0.0625)):
        drop = 0.98 - 0.02 * index**2
        rows.append(record(f"dct:keep={keep}", accuracy=drop, share=keep, speed=0.3 + keep))
    for index, sparsity in enumerate((0.5, 0.8, 0.9, 0.95)):
        chain = f"prune:sparsity={sparsity}"
        rows.append(record(chain, accuracy=0.981 - 0.006 * index, share=1.2 * (1 - sparsity) + 0.01))
        chain = f"{chain}+qat"
        share = 0.4 * (1 - sparsity) + 0.01
        rows.append(record(chain, like="qat", accuracy=0.98 - 0.007 * index, share=share))
    return rows


def write_run(folder: Path, records: Sequence[RunRecord], command: str = "python run_bench.py --methods dct") -> None:
    """A run's folder as the runner leaves it."""
    write_json({"command": command, "cases": [one.case_id for one in records]}, folder / "plan.json")
    for one in records:
        write_record(one, folder / "records" / f"{one.case_id}.json")


def _ledger(
    layers: Sequence[tuple[str, tuple[int, ...]]], share: float, stored: float, kept: float
) -> tuple[TensorEntry, ...]:
    entries = [TensorEntry("(container)", "header", (), "deflate", 0, 0, 0.0, 9000, header_bytes=9000)]
    for layer, shape in layers:
        values = max(1, int(math.prod(shape) * stored))
        nonzeros, size = max(1, int(values * kept / stored)), int(4 * math.prod(shape) * share)
        places = size // 5 if kept < stored else 0
        spent = {"values_bytes": size - places, "indices_bytes": places}
        entries.append(TensorEntry(layer, "weight", shape, "dense", values, nonzeros, 7.1 * size, size, **spent))
        bias = shape[0]
        entries.append(TensorEntry(layer, "bias", (bias,), "dense", bias, bias, 30.0 * bias, 4 * bias, 4 * bias))
    return tuple(entries)


def _training(chain: str, score: float, noise: random.Random) -> tuple[EpochLog, ...]:
    logs: list[EpochLog] = []
    stages = ["dense"] if chain == "dense" else [stage for stage in chain.split("+") if not stage.startswith("ptq")]
    for stage in stages:
        epochs = 6 if stage == "dense" else 2
        for epoch in range(1, epochs + 1):
            gap = math.exp(-1.1 * epoch if stage == "dense" else -2.2 - epoch)
            reached = max(0.1, score - gap + noise.uniform(-0.004, 0.004))
            loss = 0.05 + 2 * gap + noise.uniform(0, 0.02)
            logs.append(EpochLog(stage, epoch, epochs, 0.1 / epoch, loss, reached + 0.004, reached, 5.4, 1150))
    return tuple(logs)


def _runtime(name: str, chain: str, score: float, speed: float, noise: random.Random) -> RuntimeResult:
    fused = name != "eager"
    correct = round(score * SEEN)
    int8 = _is_int8(chain)
    kernels = INT8_KERNELS if int8 and fused else FLOAT_KERNELS
    notes = (SIMULATED_INT8,) if int8 and not fused else ()
    factor = speed if fused or not int8 else 3.1  # int8 is simulated in eager, and slow there
    dense = {1: 0.0119 if fused else 0.017, 32: 0.306 if fused else 0.325}
    own = tuple(_latency(batch, second * factor, noise) for batch, second in dense.items())
    rest = (
        Measurement("throughput", "1/s", (32 / (dense[32] * factor),), {"batch": 32, "threads": 1}),
        Measurement("peak_memory", "B", (231e6 + 1e6 * noise.random(),), {"batch": 32, "baseline_bytes": 190_000_000}),
    )
    return RuntimeResult(
        runtime=name,
        status="ok",
        kernels=", ".join(f"{one.precision} {one.kernel} x{one.calls}" for one in kernels),
        accuracy=Accuracy(correct, min(SEEN, correct + 5), SEEN),
        measurements=own + rest,
        dense_measurements=() if chain == "dense" else tuple(_latency(b, s, noise) for b, s in dense.items()),
        agreement=1.0 if not fused else 0.997,
        kernel_counts=kernels,
        kernel_notes=notes,
    )


def _is_int8(chain: str) -> bool:
    return "ptq" in chain or "qat" in chain


def _latency(batch: int, seconds: float, noise: random.Random) -> Measurement:
    samples = tuple(seconds * noise.uniform(0.97, 1.05) for _ in range(20))
    return Measurement("latency", "s", samples, {"batch": batch, "threads": 1, "warmup": 10, "repeats": 20})
