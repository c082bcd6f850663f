"""A tiny data set, two files made for it, and how they are measured: what the tests of measuring share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from baselines import data as datasets
from bench import artifact
from bench.measure import Measured, measure, score
from bench.measure.messages import ScoreRequest
from bench.records import Measurement, RuntimeResult
from methods.graph import trace

DATA = {"name": "fake:classes=7:size=8:channels=2:count=300", "data_dir": "nowhere", "seed": 3}
OUT = 16
CLASS_NAMES = tuple(f"klass {one}" for one in range(7))


def network(width: int = 6, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(width * OUT, 7),
    )  # fmt: skip


def opened() -> datasets.ImageData:
    return datasets.load(str(DATA["name"]), data_dir=Path("nowhere"), seed=3)


def written(path: Path, model: nn.Module, **stated: Any) -> Path:
    data = opened()
    metadata = {
        "net": "tiny", "dataset": "fake", "classes": data.classes, "input_shape": list(data.input_shape),
        "mean": list(data.mean), "std": list(data.std), "data": DATA,
        "class_names": list(CLASS_NAMES),
    }  # fmt: skip
    artifact.save(artifact.ship(trace(model)), path, {**metadata, **stated})
    return path


def measured(path: Path, dense: Path | None = None, **options: Any) -> Measured:
    defaults: dict[str, Any] = {"runtimes": ("eager",), "data": DATA, "latency_budget_s": 0.05, "batches": (1, 4)}
    return measure(path, dense, threads=1, device="cpu", **{**defaults, **options})


def naive(path: Path) -> list[int]:
    """Predictions, an image at a time, by the network that was read."""
    model = artifact.load(path).model
    with torch.no_grad():
        batches = opened().batches("test", 5, device="cpu")
        return [int(model(image[None]).argmax()) for images, _ in batches for image in images]


def labels() -> list[int]:
    return [int(label) for _, some in opened().batches("test", 5, device="cpu") for label in some]


def found(result: RuntimeResult, quantity: str) -> list[Measurement]:
    return [one for one in result.measurements if one.quantity == quantity]


def scored_here(path: Path, tmp_path: Path, *names: str, dense: Path | None = None) -> tuple[RuntimeResult, ...]:
    """In this process, so that a planted runtime takes part."""
    request = ScoreRequest(
        str(path), None if dense is None else str(dense), names, 1, "cpu", DATA, (1, 4), str(tmp_path), 0.01
    )
    return score.score(request, lambda text: None).runtimes
