"""A row's file: the network as it ships, and what the file says of where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.fx import GraphModule

from bench import artifact
from bench.job import Job
from bench.plan import Case


def save_file(job: Job, case: Case, model: GraphModule, path: Path) -> GraphModule:
    """Writes the file of `case`, whose last stage made `model`; returns the network as it ships, on the CPU."""
    shipped = artifact.ship(model.cpu())
    path.parent.mkdir(parents=True, exist_ok=True)
    artifact.save(shipped, path, _metadata(job, case), case.writing)
    return shipped


def _metadata(job: Job, case: Case) -> dict[str, Any]:
    data = job.data
    return {
        "net": case.source.net["spec"],
        "dataset": case.source.data["title"],
        "classes": data.classes,
        "class_names": list(data.class_names),
        "input_shape": list(data.input_shape),
        "mean": [float(value) for value in data.mean],
        "std": [float(value) for value in data.std],
        "chain": case.text,
        "label": case.label,
        "seed": case.seed,
        "case_id": case.id,
        "data": job.data_request,
    }
