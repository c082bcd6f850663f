"""All figures of a report, as PNG and SVG with the same bytes for the same records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench.records import RunRecord
from reports.curves import training_curves
from reports.layers import layer_bytes
from reports.ledger import byte_parts
from reports.roles import asked
from reports.scatter import accuracy_latency, accuracy_size
from reports.style import save, styled
from reports.sweep_figures import has_gain, has_sweep, sweep_accuracy, sweep_gain

FIGURES: dict[str, Callable[[Sequence[RunRecord]], Figure]] = {
    "accuracy_size": accuracy_size,
    "accuracy_latency": accuracy_latency,
    "layer_bytes": layer_bytes,
    "byte_parts": byte_parts,
    "training_curves": training_curves,
}

WITH_CONTROLS = ("accuracy_size", "accuracy_latency")  # the others show what was asked for alone


def figures_of(records: Sequence[RunRecord]) -> dict[str, Callable[[Sequence[RunRecord]], Figure]]:
    """The figures that a run's report has: those of FIGURES, and of a run with sweeps those of sweeps."""
    records = asked(records)
    found = dict(FIGURES)
    if has_sweep(records):
        found["sweep_accuracy"] = sweep_accuracy
    if has_gain(records):
        found["sweep_gain"] = sweep_gain
    return found


def draw_figures(records: Sequence[RunRecord], folder: Path) -> list[Path]:
    """Writes every figure of a run into `folder`, NAME.png and NAME.svg."""
    with styled():
        paths = []
        for name, draw in figures_of(records).items():
            shown = records if name in WITH_CONTROLS else asked(records)
            paths += save(draw(shown), folder, name)
        return paths
