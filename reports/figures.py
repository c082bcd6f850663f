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
from reports.rows import by_place
from reports.scatter import accuracy_latency, accuracy_size
from reports.style import save, styled
from reports.sweep_figures import has_gain, has_sweep, sweep_accuracy, sweep_gain

Draw = Callable[[Sequence[RunRecord]], Figure]
Drawing = tuple[Draw, Sequence[RunRecord]]
FIGURES: dict[str, Draw] = {
    "accuracy_size": accuracy_size,
    "accuracy_latency": accuracy_latency,
    "layer_bytes": layer_bytes,
    "byte_parts": byte_parts,
    "training_curves": training_curves,
}

WITH_CONTROLS = ("accuracy_size", "accuracy_latency")  # the others show what was asked for alone


def figures_of(records: Sequence[RunRecord]) -> dict[str, Drawing]:
    """What draws each figure of a run's report, and the records it is drawn from: those of FIGURES, one for each
    network and data set, and of a run with sweeps those of sweeps, which have a panel for each."""
    found: dict[str, Drawing] = {}
    places = by_place(records)
    for name, draw in FIGURES.items():
        for number, own in enumerate(places.values(), start=1):
            shown = own if name in WITH_CONTROLS else asked(own)
            found[name_of(name, number, len(places))] = (draw, shown)
    own = asked(records)
    if has_sweep(own):
        found["sweep_accuracy"] = (sweep_accuracy, own)
    if has_gain(own):
        found["sweep_gain"] = (sweep_gain, own)
    return found


def name_of(name: str, number: int, places: int) -> str:
    """The name of a figure of the network and data set of that number, of so many."""
    return name if places == 1 else f"{name}_{number}"


def draw_figures(records: Sequence[RunRecord], folder: Path) -> list[Path]:
    """Writes every figure of a run into `folder`, NAME.png and NAME.svg."""
    with styled():
        return [path for name, (draw, shown) in figures_of(records).items() for path in save(draw(shown), folder, name)]
