"""How figures look and are saved: colours for the colour-blind, markers, ticks, files with the same bytes each time."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from bench.records import RunRecord
from reports.rows import DENSE

_PLACES = 7  # digits of a share of the figure that are kept
# Okabe and Ito 2008 (jfly.uni-koeln.de/color) without yellow, which is too pale on white, and black, which is dense
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
STYLE = {
    "svg.hashsalt": "reports",
    "svg.fonttype": "path",  # the text looks the same where a font is missing, and so does its box
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same boxes on every machine
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "figure.dpi": 120,
    "savefig.dpi": 120,
}


@dataclass(frozen=True)
class Look:
    """Colour and marker of a chain, the same in every figure of a report."""

    colour: str
    marker: str


def looks(records: Sequence[RunRecord]) -> dict[str, Look]:
    """A look for each chain in plan order; dense is a black star. 66 chains look different from one another."""
    chains = [chain for chain in dict.fromkeys(one.chain for one in records) if chain != DENSE]
    table = {c: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, c in enumerate(chains)}
    return {DENSE: Look("#000000", "*")} | table


@contextmanager
def styled() -> Iterator[None]:
    """Draws with this style whatever the person's own matplotlib settings are; leaves those as they were."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches with a canvas of its own: no global state of pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def reserve_below(figure: Figure, inches: float) -> None:
    """Keeps the lowest `inches` of a figure free of axes."""
    share = inches / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, share, 1, 1 - share))


def settle(figure: Figure) -> None:
    """Lays the figure out once and for all, so that pixels measured from here on stay true."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # not "none": that is an engine too, for which every file is drawn twice
        _round_places(figure)


def _round_places(figure: Figure) -> None:
    """Takes off the last digits of where things stand: the solver of layouts goes through its variables in the order
    of their addresses, so those digits differ from process to process, and ids in an SVG are hashes of all digits."""
    for axes in figure.axes:
        left, bottom, width, height = (round(float(side), _PLACES) for side in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((round(float(x), _PLACES), round(float(y), _PLACES)))


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes NAME.png and NAME.svg without dates or versions: the same figure gives the same bytes."""
    settle(figure)
    paths = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata, facecolor="white")
        paths.append(write_whole(folder / f"{name}.{kind}", buffer.getvalue()))
    return paths


def write_whole(path: Path, content: bytes) -> Path:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)
    return path


_LEAST_TICKS, _MOST_TICKS = 3, 9


def log_axis(axes: Axes, values: Sequence[float], unit: str, most: int = _MOST_TICKS) -> None:
    """A logarithmic x axis around `values` (positive) with plain numbers at 1, 2, 5 or finer, and at most `most` ticks
    where a decade or more is shown."""
    low, high = min(values), max(values)
    room = max(1.25, (high / low) ** 0.08)
    low, high = low / room, high * room
    axes.set_xlim(low, high)  # first: a change of scale would autoscale, which warns where all values are the same
    axes.set_xscale("log")
    marks = ticks(low, high, most)
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(unit)


def ticks(low: float, high: float, most: int = _MOST_TICKS) -> list[float]:
    """From three to `most` values, 1, 2, 5 or finer of each decade; on a short stretch, where those are too few, evenly
    spaced ones."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = decades[:: math.ceil(len(decades) / most)]
    found: list[float] = []
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)):
        marks = [float(f"{step * 10.0**decade:.3g}") for decade in decades for step in steps]
        marks = [mark for mark in marks if low <= mark <= high]
        if len(marks) > most:
            break
        found = marks
    if len(found) < _LEAST_TICKS:
        even = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=_LEAST_TICKS).tick_values(low, high)
        found = [float(f"{tick:.6g}") for tick in even if low <= tick <= high]
    return found
