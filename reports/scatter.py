"""Accuracy against file size and against latency, with intervals, the Pareto front and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.records import Role, RunRecord, RuntimeResult
from reports import labels
from reports.cells import byte_unit, one_line
from reports.crowd import family, family_looks, is_crowd
from reports.names import cut, short_names
from reports.panels import Panel, points_of
from reports.roles import ASKED, WHAT, asked, beside
from reports.rows import DENSE, dense_first, find, first_scored, middle
from reports.style import Look, log_axis, looks, new_figure, reserve_below, settle

_LATENCY_AXIS = "latency of one image, % of the dense network's in the same process (log scale)"
KEY_LABEL = 50  # characters of a label in a key of two columns
LONG_KEY_LABEL = 105  # and of one
LABEL = 34  # characters of a label beside its point
KEY_LINE_INCHES = 0.2
GREY = "#707070"
ROLE_MARKERS: dict[Role, str] = {
    "longer": "v", "small": "o", "random": "x", "half": "h", "xz": "P", "untaught": "D", "part": "s", "order": "^",
}  # fmt: skip
REACH = 150.0  # pixels; the longest leader, as long as everything fits


def accuracy_size(records: Sequence[RunRecord]) -> Figure:
    """Accuracy in the first runtime that ran each row, against the bytes of its file."""
    good = [one for one in dense_first(records) if one.status == "ok" and one.file_bytes > 0]
    unit, factor = byte_unit(one.file_bytes for one in good)
    samples = [(one, one.file_bytes / factor, first_scored(one)) for one in good]
    panel = Panel("", f"file size, {unit} (log scale)", points_of(samples))
    return _draw([panel], _looks(records), "Accuracy against file size", width=9.0)


def accuracy_latency(records: Sequence[RunRecord]) -> Figure:
    """Accuracy against the latency of one image, a panel for each runtime.

    Latency is given in per cent of the dense network's, taken by turns in the same process: absolute times of rows
    come from processes of their own, between which a machine's pace may change.
    """
    ordered = dense_first(records)
    runtimes = dict.fromkeys(result.runtime for one in ordered for result in one.runtimes)
    panels = []
    for name in runtimes:
        results = [(one, result) for one in ordered for result in one.runtimes if result.runtime == name]
        samples = [(one, _share_of_dense(one, result), _if_ok(result)) for one, result in results]
        panels.append(Panel(name, _LATENCY_AXIS, points_of(samples)))
    panels = panels or [Panel("", _LATENCY_AXIS, ())]
    return _draw(panels, _looks(records), "Accuracy against latency, batch 1", width=9.0)


def _looks(records: Sequence[RunRecord]) -> dict[str, Look]:
    """Looks of all rows; those that were not asked for are grey, a marker for each reason why they are there."""
    own = asked(records)
    grey = {one.chain: Look(GREY, ROLE_MARKERS[one.role]) for one in beside(records)}
    return grey | (family_looks(own) if is_crowd(own) else looks(own))


def _share_of_dense(one: RunRecord, result: RuntimeResult) -> float:
    """Median latency in per cent of dense's, batch 1; NaN where either was not taken."""
    if one.chain == DENSE:
        return 100.0 if find(result.measurements, "latency", 1) else math.nan
    beside = middle(find(result.dense_measurements, "latency", 1))
    return 100 * middle(find(result.measurements, "latency", 1)) / beside if beside > 0 else math.nan


def _if_ok(result: RuntimeResult) -> RuntimeResult | None:
    return result if result.status == "ok" else None


def _draw(panels: Sequence[Panel], table: dict[str, Look], title: str, width: float) -> Figure:
    """With names beside the points; where one is too long or they do not fit, with numbers and a key."""
    for numbered, reach in ((False, REACH), (True, REACH), (True, math.inf)):
        figure = _try(panels, table, title, width, numbered=numbered, reach=reach)
        if figure is not None:
            return figure
    raise AssertionError("numbers always fit")


def _try(
    panels: Sequence[Panel], table: dict[str, Look], title: str, width: float, *, numbered: bool, reach: float
) -> Figure | None:
    numbers = {chain: index for index, chain in enumerate(dict.fromkeys(p.chain for one in panels for p in one.named))}
    shown = [point for panel in panels for point in panel.points if point.role == ASKED or point in panel.named]
    short = short_names(point.label for point in shown)  # of a crowd, what rows without a name have counts too
    names = {point.chain: short[one_line(point.label)] for panel in panels for point in panel.named}
    if not numbered and any(len(name) > LABEL for name in names.values()):
        return None
    roles_of = {point.chain: point.role for panel in panels for point in panel.points}
    key = [(chain, f"{index}  {cut(names[chain], LONG_KEY_LABEL)}") for chain, index in numbers.items() if numbered]
    roles = {point.role: point.chain for panel in panels for point in panel.points if point.role != ASKED}
    key += [(chain, WHAT[role]) for role, chain in roles.items()]
    if any(panel.crowded for panel in panels):
        families = {family(chain): chain for chain, role in roles_of.items() if chain != DENSE and role == ASKED}
        key = [(chain, cut(name, LONG_KEY_LABEL)) for name, chain in sorted(families.items())] + key
    places, lines = _key_places([text for _, text in key])
    height = 0.5 + 4.6 * len(panels) + KEY_LINE_INCHES * (lines + 1)
    figure = new_figure(width, height)
    figure.suptitle(title, fontsize=12)
    reserve_below(figure, KEY_LINE_INCHES * (lines + 1))
    caption_below = (lines + 0.5) * KEY_LINE_INCHES / height
    figure.text(0.5, caption_below, _caption(panels), fontsize=8.5, color="#555555", ha="center", va="center")
    grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, panel in zip(grid, panels, strict=True):
        _panel(axes, panel, table)
    settle(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for axes, panel in zip(grid, panels, strict=True):
        texts = [str(numbers[p.chain]) if numbered else names[p.chain] for p in panel.named]
        if not _label(axes, panel, texts, table, renderer, reach=reach):
            return None
    for (chain, text), (column, line) in zip(key, places, strict=True):
        left, up = (0.03, 0.52)[column], (lines - line - 0.5) * KEY_LINE_INCHES / height
        look = table[chain]
        filled = look.colour if look.colour != GREY else "none"
        mark = Line2D([left], [up], marker=look.marker, color=look.colour, markerfacecolor=filled, linestyle="")
        mark.set_markersize(7)
        figure.add_artist(mark)
        figure.text(left + 0.012, up, text, fontsize=9, va="center")
    return figure


def _key_places(texts: Sequence[str]) -> tuple[list[tuple[int, int]], int]:
    """Column and line of each text of a key, and how many lines there are: two columns, then a line for each that is
    too long for one."""
    long = [index for index, text in enumerate(texts) if len(text) > KEY_LABEL]
    half = math.ceil((len(texts) - len(long)) / 2)
    short = iter(divmod(place, half) for place in range(len(texts) - len(long)))
    places = [(0, half + long.index(index)) if index in long else next(short) for index in range(len(texts))]
    return places, half + len(long)


def _caption(panels: Sequence[Panel]) -> str:
    several = any(len(point.seeds) > 1 for panel in panels for point in panel.points)
    two = " (of two: std)" if any(len(point.seeds) == 2 for panel in panels for point in panel.points) else ""
    bars = f"mean over seeds with its 95 % interval{two}, small: seeds" if several else "bars: 95 % Wilson intervals"
    if any(panel.crowded for panel in panels):
        bars = f"bars: 95 % intervals over seeds{two}" if several else bars
        most = max(panel.asked for panel in panels)
        return f"named: dense (dotted) and the Pareto front (dashed), of {most} rows; {bars}"
    if any(panel.outside for panel in panels):
        bars += "; arrow: a control beyond the axis, its accuracy"
    beaten = any(point.role != ASKED for panel in panels for point in panel.front)
    front = "Pareto front, with controls that beat a method on it" if beaten else "Pareto front"
    return f"{bars}; dashed: {front}; dotted: dense"


def _panel(axes: Axes, panel: Panel, table: dict[str, Look]) -> None:
    axes.set_title(panel.title)
    axes.set_ylabel("top-1 accuracy on the test split, %")
    if not panel.points:
        axes.set_xlabel(panel.unit)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no row was measured", transform=axes.transAxes, ha="center", va="center")
        return
    named = panel.named
    for point in panel.points:
        if point not in named:
            look = table[point.chain]
            own = point.role == ASKED
            (mark,) = axes.plot([point.cost], [panel.height(point)], look.marker, color=look.colour, zorder=2)
            mark.set(markersize=4 if own else 6, alpha=0.4 if own else 0.8)
            mark.set_markerfacecolor(look.colour if own else "none")
    for point in named:
        look = table[point.chain]
        dense = point.chain == DENSE
        error = [[point.accuracy - point.low], [point.high - point.accuracy]]
        axes.errorbar(
            point.cost,
            point.accuracy,
            yerr=error,
            fmt=look.marker,
            color=look.colour,
            markersize=13 if dense else 8,
            markeredgecolor="white" if point.role == ASKED else look.colour,
            markerfacecolor=look.colour if point.role == ASKED else "none",
            elinewidth=1.2,
            capsize=3,
            zorder=5 if dense else 4,
        )
        if len(point.seeds) > 1:
            costs, accuracies = zip(*point.seeds, strict=True)
            axes.scatter(costs, accuracies, marker=look.marker, s=12, color=look.colour, alpha=0.5)
    front = [(one.cost, one.accuracy) for one in panel.front]
    axes.plot(*zip(*front, strict=True), color="#999999", linestyle="--", zorder=1)
    _limits(axes, panel)


def _limits(axes: Axes, panel: Panel) -> None:
    costs = [cost for point in panel.points for cost, _ in point.seeds]
    log_axis(axes, costs, panel.unit)
    axes.set_ylim(*panel.range)
    reference = [point.accuracy for point in panel.points if point.chain == DENSE]
    for accuracy in reference:
        axes.axhline(accuracy, color="#000000", linewidth=0.8, linestyle=":", zorder=1)


def _label(
    axes: Axes, panel: Panel, texts: Sequence[str], table: dict[str, Look], renderer: RendererBase, *, reach: float
) -> bool:
    """Labels the points of a panel; False where the texts do not fit."""
    if not panel.points:
        return True
    named = panel.named
    where = [tuple(map(float, axes.transData.transform((p.cost, p.accuracy)))) for p in named]
    points = [labels.Box(x, y, x, y).grown(9) for x, y in where]
    others = [axes.transData.transform((p.cost, panel.height(p))) for p in panel.points if p not in named]
    lines = [labels.Box(float(x), float(y), float(x), float(y)).grown(3) for x, y in others]
    for (x, _), point in zip(where, named, strict=True):
        ends = axes.transData.transform([(point.cost, point.low), (point.cost, point.high)])  # [2, 2]
        lines.append(labels.Box(x - 3, float(ends[0, 1]), x + 3, float(ends[1, 1])))
    lines += [box for line in axes.lines if line.get_linestyle() in ("--", ":") for box in _along(line)]
    anchors = [(point.cost, panel.height(point)) for point in (*named, *panel.outside)]
    colours = [table[point.chain].colour for point in (*named, *panel.outside)]
    texts = [*texts, *(f"{'↓' if p.accuracy < panel.range[0] else '↑'} {p.accuracy:.1f} %" for p in panel.outside)]
    placed = labels.place(axes, anchors, texts, colours, renderer=renderer, points=points, lines=lines, reach=reach)
    return placed is not None


def _along(line: Line2D) -> list[labels.Box]:
    """Small boxes along a drawn line, in pixels, for labels to keep off it."""
    corners = line.get_transform().transform(line.get_xydata())  # [n, 2]
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(corners):
        count = max(1, math.ceil(math.hypot(x1 - x0, y1 - y0) / 40))
        for k in range(count):
            ends = [(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share) for share in (k / count, (k + 1) / count)]
            (a, b), (c, d) = ends
            boxes.append(labels.Box(min(a, c) - 1, min(b, d) - 1, max(a, c) + 1, max(b, d) + 1))
    return boxes
