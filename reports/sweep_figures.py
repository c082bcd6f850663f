"""Figures of a run's sweeps: accuracy against file size as curves, and what each basis gains over a random one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.records import RunRecord
from reports.cells import byte_unit, kept_text, shortened
from reports.comparisons import Setting, at_settings, counterpart
from reports.names import told_apart
from reports.style import COLOURS, MARKERS, log_axis, new_figure
from reports.sweeps import RANDOM, Panel, Point, interval, sweeps

PANEL = 4.1  # inches, width and height of a panel
MOST_COLUMNS = 3
CLOSE = 3.0  # points below dense that the close-up shows
LINEAR = 1.0  # points of gain up to which a wide axis is linear
WIDE = 8.0  # points that accuracies must span for a close-up
NAME = 44  # characters of a curve's name in the legend
CHARACTERS = 11.5  # of the legend's font that fit in an inch
MOST_TICKS = 6  # of a panel's x axis
GREYS = ("#222222", "#6E6E6E", "#A0A0A0")
CONTROL_MARKERS = ("x", "+", "1", "2")
DASHES = ("--", ":", "-.")


@dataclass(frozen=True)
class CurveLook:
    """How a curve is drawn, the same in every figure and panel."""

    colour: str
    marker: str
    line: str
    filled: bool


def sweep_accuracy(records: Sequence[RunRecord]) -> Figure:
    """Accuracy against file size: a panel for each choice of layers, a curve a method, the dense network a line.

    Where accuracies span more than WIDE points, each panel has a close-up of the last CLOSE points below dense.
    """
    panels = sweeps(records)
    table = curve_looks(panels)
    columns = min(MOST_COLUMNS, len(panels))
    close = any(_spans_wide(panel) for panel in panels)
    rows = math.ceil(len(panels) / columns) * (2 if close else 1)
    figure = new_figure(max(6.6, PANEL * columns), 0.9 + 0.86 * PANEL * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        row *= 2 if close else 1
        grid[row, column].set_visible(True)
        _accuracies(grid[row, column], panel, table)
        grid[row, column].set_title(panel.name)
        if close:
            grid[row + 1, column].set_visible(True)
            _accuracies(grid[row + 1, column], panel, table)
            _close_up(grid[row + 1, column], panel)
    figure.suptitle("Accuracy against file size, a curve a method", fontsize=12)
    _legend(figure, table, dense=any(panel.dense for panel in panels))
    return figure


def sweep_gain(records: Sequence[RunRecord]) -> Figure:
    """Points of accuracy above random_basis at the same setting: a row of axes a basis, a column a choice of layers."""
    panels = [(panel, _compared(panel)) for panel in sweeps(records)]
    panels = [(panel, found) for panel, found in panels if found]
    table = curve_looks(sweeps(records))
    names = [name for name in table if any(name in found for _, found in panels)]
    figure = new_figure(max(6.6, 1.0 + 3.2 * len(panels)), 1.3 + 1.15 * len(names))
    grid = figure.subplots(len(names), len(panels), squeeze=False, sharex="col", sharey=True)
    for column, (panel, found) in enumerate(panels):
        for row, name in enumerate(names):
            axes = grid[row, column]
            _gains(axes, found.get(name, []), table[name])
            if column == 0:
                text = "\n".join(shortened(part, 18) for part in name.split(":", 1))
                axes.set_ylabel(text, fontsize=9, color=table[name].colour)
        grid[0, column].set_title(panel.name)
        _settings_axis(grid[-1, column], [one for settings in found.values() for one in settings])
    wide = _gain_axis(grid[0, 0], [one for _, found in panels for settings in found.values() for one in settings])
    every = [one.difference for _, found in panels for settings in found.values() for one in settings]
    by_image = all(one.image_by_image for one in every)
    alone = "paired by image, one seed" if by_image else "Newcombe, from the counts of one seed"
    how = "paired over seeds, Student's t" if any(one.seeds > 1 for one in every) else alone
    figure.suptitle(f"Accuracy above {RANDOM} at the same setting", fontsize=12)
    figure.supylabel("gain, % points" + (f" (linear up to {LINEAR:g}, then logarithmic)" if wide else ""), fontsize=10)
    text = f"bars: 95 % interval ({how}); filled: zero lies outside it; dashed: {RANDOM}"
    figure.supxlabel(text, fontsize=8.5, color="#555555")
    return figure


def has_sweep(records: Sequence[RunRecord]) -> bool:
    """Whether sweep_accuracy has a curve to draw."""
    return any(curve.measured for panel in sweeps(records) for curve in panel.curves)


def has_gain(records: Sequence[RunRecord]) -> bool:
    """Whether sweep_gain has a basis to compare."""
    return any(_compared(panel) for panel in sweeps(records))


def curve_looks(panels: Sequence[Panel]) -> dict[str, CurveLook]:
    """A look for each curve by name: bright and solid; beside bases the controls are grey and broken."""
    curves = {curve.name: curve for panel in panels for curve in panel.curves}
    bases = any(curve.is_basis for curve in curves.values())
    looks: dict[str, CurveLook] = {}
    bright = grey = 0
    for name, curve in sorted(curves.items(), key=lambda item: item[1].order):
        if bases and curve.is_control:
            looks[name] = CurveLook(GREYS[grey % 3], CONTROL_MARKERS[grey % 4], DASHES[grey % 3], filled=True)
            grey += 1
        else:
            colour, marker = COLOURS[bright % len(COLOURS)], MARKERS[bright % len(MARKERS)]
            looks[name] = CurveLook(colour, marker, "-", filled=bright % (2 * len(COLOURS)) < len(COLOURS))
            bright += 1
    return looks


def _accuracies(axes: Axes, panel: Panel, table: dict[str, CurveLook]) -> None:
    curves = [(curve, curve.measured) for curve in panel.curves if curve.measured]
    unit, factor = byte_unit(point.file_bytes for _, points in curves for point in points)
    _reference(axes, panel)
    for curve, points in curves:
        _curve(axes, points, factor, table[curve.name])
    axes.set_ylabel("test accuracy, %")
    sizes = [point.file_bytes / factor for _, points in curves for point in points]
    if sizes:
        log_axis(axes, sizes, f"file size, {unit} (log scale)", most=MOST_TICKS)


def _curve(axes: Axes, points: Sequence[Point], factor: float, look: CurveLook) -> None:
    sizes = [point.file_bytes / factor for point in points]
    three = [[100 * value for value in interval(point.samples)] for point in points]  # mean, low, high
    means = [mean for mean, _, _ in three]
    reach = [[mean - low for mean, low, _ in three], [high - mean for mean, _, high in three]]
    axes.errorbar(sizes, means, yerr=reach, fmt="none", ecolor=look.colour, elinewidth=1.0, alpha=0.55)
    axes.plot(sizes, means, **_style(look))


def _style(look: CurveLook) -> dict[str, Any]:
    face = look.colour if look.filled else "white"
    return {
        "color": look.colour, "marker": look.marker, "linestyle": look.line, "linewidth": 1.5, "markersize": 6,
        "markerfacecolor": face, "markeredgecolor": look.colour,
    }  # fmt: skip


def _reference(axes: Axes, panel: Panel) -> None:
    if panel.dense:
        mean, low, high = interval(panel.dense)
        axes.axhline(100 * mean, color="#000000", linewidth=1.0, zorder=1)
        axes.axhspan(100 * low, 100 * high, color="#000000", alpha=0.08, linewidth=0, zorder=0)


def _spans_wide(panel: Panel) -> bool:
    means = [100 * interval(point.samples)[0] for curve in panel.curves for point in curve.measured]
    return bool(panel.dense) and bool(means) and max(means) - min(means) > WIDE


def _close_up(axes: Axes, panel: Panel) -> None:
    axes.set_title(f"{panel.name}, close to dense", fontsize=10)
    if panel.dense:
        highs = [100 * interval(point.samples)[2] for curve in panel.curves for point in curve.measured]
        mean, _, high = (100 * one for one in interval(panel.dense))
        top = max([high, *highs])
        axes.set_ylim(mean - CLOSE, top + 0.05 * (top - mean + CLOSE))


def _legend(figure: Figure, table: dict[str, CurveLook], *, dense: bool) -> None:
    # what tells curves of one method apart stands in the middle, which is what would be cut
    short = told_apart(table) if any(len(name) > NAME for name in table) else {name: name for name in table}
    handles = [Line2D([], [], label=shortened(short[name], NAME), **_style(look)) for name, look in table.items()]
    if dense:
        handles.append(Line2D([], [], color="#000000", linewidth=1.0, label="dense"))
    widest = max(len(str(handle.get_label())) for handle in handles) + 8
    across = max(1, min(len(handles), int(figure.get_figwidth() * CHARACTERS / widest)))
    lines = math.ceil(len(handles) / across)
    figure.set_figheight(figure.get_figheight() + 0.22 * lines)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=across, fontsize=9, frameon=False)
    text = "bars, and grey around dense: 95 % interval of the mean over seeds; of two seeds std; of one Wilson's"
    if any(short[name] != name for name in table):
        text += "\nsettings that most curves have are left out of their names"
    legend.set_title(text, prop=FontProperties(size=8.5))


def _compared(panel: Panel) -> dict[str, list[Setting]]:
    """The settings in which each basis of the panel has a random one to be compared with."""
    pairs = [(one, counterpart(panel, one, RANDOM)) for one in panel.curves if one.is_basis]
    found = {curve.name: at_settings(curve, control) for curve, control in pairs if control}
    return {name: settings for name, settings in found.items() if settings}


def _gains(axes: Axes, settings: Sequence[Setting], look: CurveLook) -> None:
    axes.axhline(0, color=GREYS[1], linewidth=1.0, linestyle=DASHES[0], zorder=1)
    places = [one.value for one in settings]
    gaps = [one.difference for one in settings]
    reach = [[100 * (gap.mean - gap.low) for gap in gaps], [100 * (gap.high - gap.mean) for gap in gaps]]
    means = [100 * gap.mean for gap in gaps]
    axes.errorbar(places, means, yerr=reach, fmt="none", ecolor=look.colour, elinewidth=1.2, capsize=2.5)
    axes.plot(places, means, color=look.colour, linewidth=1.2)
    for place, mean, gap in zip(places, means, gaps, strict=True):
        face = look.colour if gap.better or gap.worse else "white"
        axes.plot([place], [mean], marker="o", markersize=5.5, color=look.colour, markerfacecolor=face)


def _gain_axis(axes: Axes, settings: Sequence[Setting]) -> bool:
    """Sets the shared y axis; True where large gains and small ones both are to be seen, on a symmetric log axis."""
    gaps = [one.difference for one in settings]
    low, high = min(0.0, *(100 * gap.low for gap in gaps)), max(0.0, *(100 * gap.high for gap in gaps))
    largest = max(-low, high, 0.1)
    if largest <= 5 * LINEAR:
        axes.set_ylim(low - 0.12 * largest, high + 0.12 * largest)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
        return False
    axes.set_yscale("symlog", linthresh=LINEAR)
    axes.set_ylim(min(2 * low, -LINEAR / 2), max(2 * high, LINEAR / 2))
    marks = [mark for mark in (-100, -10, -1, 0, 1, 10, 100) if 2 * low <= mark <= 2 * high]
    axes.set_yticks(marks, [f"{mark:+d}" if mark else "0" for mark in marks])
    axes.set_yticks([], minor=True)
    return True


def _settings_axis(axes: Axes, settings: Sequence[Setting]) -> None:
    values = sorted({one.value for one in settings})
    key = settings[0].text.partition("=")[0]
    if min(values) > 0:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 1.3, max(values) * 1.3)
    axes.set_xticks(values, [kept_text(value) for value in values])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("fraction kept" if key == "keep" else key)
