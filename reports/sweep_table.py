"""Sweeps as Markdown tables: methods against the fraction kept, and how far each goes before accuracy is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.cells import MISSING, bytes_text, kept_text, markdown, percent, pipe_table, ratio
from reports.comparisons import paired
from reports.sweeps import Curve, Panel, Point, interval

LOSSES = (0.003, 0.01)  # of accuracy: how far a method goes within them


def sweep_tables(panels: Sequence[Panel]) -> str:
    """For each panel a table, methods as rows, the swept value as columns: accuracy, bytes and compression ratio."""
    parts = []
    for panel in panels:
        columns = _columns(panel)
        head = ["method", *(text for _, text in columns)]
        best = {text: _best([p for curve in panel.curves if (p := _at(curve, text))]) for _, text in columns}
        lines = []
        for curve in panel.curves:
            points = [(text, _at(curve, text)) for _, text in columns]
            cells = [_cell(point, bold=point is not None and point is best[text]) for text, point in points]
            lines.append([markdown(curve.name), *cells])
        parts.append(f"**{markdown(panel.name)}**{_dense(panel)}\n\n{pipe_table(head, lines)}")
    return "\n".join([*parts, f"{_reading(panels)}\n"])


def reach_table(panels: Sequence[Panel]) -> str:
    """For each method and panel the largest compression ratio of a measured row that loses at most each of LOSSES."""
    named = {curve.name: curve for panel in panels for curve in panel.curves}
    names = sorted(named, key=lambda name: named[name].order)
    head = ["method", *(f"{panel.name}, {points(loss)}" for panel in panels for loss in LOSSES)]
    lines = []
    for name in names:
        cells = []
        for panel in panels:
            curve = next((one for one in panel.curves if one.name == name), None)
            for loss in LOSSES:
                found = furthest(curve, loss) if curve else None
                cells.append(f"{ratio(found.ratio)} ({markdown(found.text)})" if found else MISSING)
        lines.append([markdown(name), *cells])
    return pipe_table([markdown(text) for text in head], lines)


def furthest(curve: Curve, loss: float) -> Point | None:
    """The row with the largest compression ratio whose mean accuracy is at most `loss` below dense."""
    good = [one for one in curve.measured if math.isfinite(one.lost) and one.lost <= loss + 1e-12]
    return max(good, key=lambda one: (one.ratio, -one.lost), default=None)


def points(share: float) -> str:
    """A difference of accuracies in words: 0.01 -> 1 point, 0.003 -> 0.3 points."""
    return f"{100 * share:g} point" + ("" if round(100 * share, 9) == 1 else "s")


def _columns(panel: Panel) -> list[tuple[tuple[int, float], str]]:
    """The headings in order: kept fractions from the largest, then what is no fraction."""
    found = {}
    for curve in panel.curves:
        for point in curve.points:
            found[_heading(point)] = (0, -point.kept) if point.kept is not None else (1, point.value)
    return sorted((order, text) for text, order in found.items())


def _heading(point: Point) -> str:
    return f"{kept_text(point.kept)} kept" if point.kept is not None else markdown(point.text)


def _at(curve: Curve, heading: str) -> Point | None:
    return next((point for point in curve.points if _heading(point) == heading), None)


def _best(points: Sequence[Point]) -> Point | None:
    """The most accurate of a column where its difference from each other one has an interval above zero."""
    known = [one for one in points if one.samples]
    if len(known) < 2:
        return None
    best = max(known, key=lambda one: interval(one.samples)[0])
    return best if all(one is best or _above(best, one) for one in known) else None


def _above(best: Point, other: Point) -> bool:
    beside = {one.seed: one for one in other.samples}
    both = [(one, beside[one.seed]) for one in best.samples if one.seed in beside]
    return bool(both) and paired([(a.score, b.score) for a, b in both]).better


def _cell(point: Point | None, *, bold: bool) -> str:
    if point is None:
        return MISSING
    if not point.samples:
        return point.trouble
    mean, low, high = interval(point.samples)
    accuracy = f"{percent(mean)} ± {percent((high - low) / 2)}"
    size = ", ".join([bytes_text(point.file_bytes), *([ratio(point.ratio)] if math.isfinite(point.ratio) else [])])
    some = [f"{len(point.samples)} of {point.seeds} seeds"] if point.trouble else []
    return "<br>".join([f"**{accuracy}**" if bold else accuracy, size, *some])


def _dense(panel: Panel) -> str:
    if not panel.dense:
        return ""
    mean, low, high = interval(panel.dense)
    return f", dense {percent(mean)} ± {percent((high - low) / 2)} % in {bytes_text(panel.dense[0].file_bytes)}"


def _reading(panels: Sequence[Panel]) -> str:
    counts = {len(point.samples) for panel in panels for curve in panel.curves for point in curve.measured}
    ways = {1: "half the 95 % Wilson interval of one seed", 2: "one standard deviation of two seeds"}
    more = ["half the 95 % interval of the mean over seeds (Student's t)"] if any(count > 2 for count in counts) else []
    how = " or ".join([*(text for count, text in ways.items() if count in counts), *more])
    return (
        f"Test accuracy in %, ± {how or 'nothing'}; below it the file's bytes and dense bytes / its bytes. "
        "Bold: the best of its column, where its difference from each other row there has a 95 % interval above zero. "
        "`prune` at sparsity s keeps the fraction 1 - s, and stores where it lies too."
    )
