"""All figures of a report, as PNG and SVG with the same bytes for the same records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench.records import RunRecord
from reports.curves import training_curves
from reports.layers import layer_bytes
from reports.scatter import accuracy_latency, accuracy_size
from reports.style import save, styled

FIGURES: dict[str, Callable[[Sequence[RunRecord]], Figure]] = {
    "accuracy_size": accuracy_size,
    "accuracy_latency": accuracy_latency,
    "layer_bytes": layer_bytes,
    "training_curves": training_curves,
}


def draw_figures(records: Sequence[RunRecord], folder: Path) -> list[Path]:
    """Writes every figure of FIGURES into `folder`, NAME.png and NAME.svg."""
    with styled():
        return [path for name, draw in FIGURES.items() for path in save(draw(records), folder, name)]
