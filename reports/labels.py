"""Labels of points that never overlap: a greedy search over measured boxes, in pixels, with leader lines.

A label may stand anywhere inside the frame. Hard: it overlaps no other label and no point, and stays in the frame.
Soft: close to its own point and not closer to another, off the lines, its leader crossing no label. The positions
that are left are searched on a grid, so a label that fits within reach is placed. Where one does not, the caller
writes numbers and a key instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

GAP = 3.0  # pixels kept free around a label
STEP = 5.0  # pixels between the positions that are tried
ROUNDS = 3  # passes in which each label is placed again, the others standing
FAR = 14.0  # pixels between point and label from which on a leader line is drawn


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y upwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def grown(self, by: float) -> Box:
        """The box with `by` pixels more on each side."""
        return Box(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the box nearest to (x, y)."""
        return min(max(x, self.x0), self.x1), min(max(y, self.y0), self.y1)


@dataclass(frozen=True)
class Costs:
    """What a label should rather keep away from."""

    strangers: tuple[tuple[float, float], ...]  # the other labels' points
    labels: tuple[Box, ...]  # crossed by its leader
    lines: tuple[Box, ...]  # covered by it


def arrange(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    points: Sequence[Box],
    lines: Sequence[Box] = (),
    reach: float = np.inf,
) -> list[Box] | None:
    """A box of each of `sizes` near its anchor, or None where they do not all fit.

    anchors: the points that are labelled, in pixels. frame: where labels may stand.
    points: boxes that no label covers. lines: boxes that labels should rather not cover. reach: the longest leader.
    """
    crowd = [sum(abs(x - a) + abs(y - b) < 80 for a, b in anchors) for x, y in anchors]
    order = sorted(range(len(anchors)), key=lambda i: (-crowd[i], anchors[i]))
    placed: dict[int, Box] = {}
    for turn in range(ROUNDS):
        before = dict(placed)
        for index in order:
            others = [box for one, box in placed.items() if one != index]
            strangers = [anchor for one, anchor in enumerate(anchors) if one != index]
            costs = Costs(tuple(strangers), tuple(others), tuple(lines))
            box = _best(anchors[index], sizes[index], frame, [*points, *others], costs, reach)
            if box is None:
                return None
            placed[index] = box
        if turn and placed == before:
            break
    return [placed[index] for index in range(len(anchors))]


def place(
    axes: Axes,
    anchors: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    *,
    renderer: RendererBase,
    points: Sequence[Box],
    lines: Sequence[Box] = (),
    reach: float = np.inf,
    fontsize: float = 9.0,
) -> list[Text] | None:
    """Writes `texts` beside the anchors (data coordinates), or returns None and leaves `axes` alone if they do not fit.

    The limits and the position of `axes` must be final.
    """
    pixels = [tuple(map(float, axes.transData.transform(anchor))) for anchor in anchors]
    inside = axes.get_window_extent(renderer)
    frame = Box(inside.x0, inside.y0, inside.x1, inside.y1).grown(-GAP)
    written = [axes.text(0.5, 0.5, text, fontsize=fontsize, ha="left", va="bottom", zorder=6) for text in texts]
    extents = [text.get_window_extent(renderer) for text in written]
    sizes = [(extent.width + 2 * GAP, extent.height + 2 * GAP) for extent in extents]
    boxes = arrange(pixels, sizes, frame, points, lines, reach)  # type: ignore[arg-type]
    if boxes is None:
        for text in written:
            text.remove()
        return None
    for text, box, pixel, colour in zip(written, boxes, pixels, colours, strict=True):
        text.set_color(darker(colour))
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        text.set_transform(axes.transAxes)
        text.set_position(tuple(axes.transAxes.inverted().transform((box.x0 + GAP, box.y0 + GAP))))
        _leader(axes, box, pixel[0], pixel[1], colour)
    return written


def darker(colour: str) -> str:
    """The colour mixed with black: still told apart, and dark enough for text on white."""
    red, green, blue = to_rgb(colour)
    return to_hex((0.6 * red, 0.6 * green, 0.6 * blue))


def measured(text: Text, renderer: RendererBase) -> Box:
    """The box that a text covers, in pixels."""
    extent = text.get_window_extent(renderer)
    return Box(extent.x0, extent.y0, extent.x1, extent.y1)


def _best(
    anchor: tuple[float, float],
    size: tuple[float, float],
    frame: Box,
    blocked: Sequence[Box],
    costs: Costs,
    reach: float,
) -> Box | None:
    """The cheapest free position; upper right wins ties."""
    x0, y0 = _candidates(anchor, size, frame, reach)  # [n] each
    x1, y1 = x0 + size[0], y0 + size[1]
    free = ~_hit(x0, y0, x1, y1, blocked).any(axis=0)
    x0, y0, x1, y1 = x0[free], y0[free], x1[free], y1[free]
    if not len(x0):
        return None
    away = _distance(x0, y0, x1, y1, anchor)
    cost = away + 15 * _hit(x0, y0, x1, y1, costs.lines).sum(axis=0)
    for stranger in costs.strangers:
        if stranger != anchor:
            cost += 12 * (_distance(x0, y0, x1, y1, stranger) < np.minimum(away, FAR) + 4)
    cost += 2.0 * (x0 < anchor[0]) + 1.0 * (y0 < anchor[1]) + 0.01 * np.abs((x0 + x1) / 2 - anchor[0])
    few = np.argsort(cost, kind="stable")[:60]
    x0, y0, x1, y1 = x0[few], y0[few], x1[few], y1[few]
    ends = np.stack([np.clip(anchor[0], x0, x1), np.clip(anchor[1], y0, y1)], axis=1)  # [n, 2]
    best = int(np.argmin(cost[few] + 40 * _crossed(anchor, ends, costs.labels)))
    return Box(float(x0[best]), float(y0[best]), float(x1[best]), float(y1[best]))


def _candidates(
    anchor: tuple[float, float], size: tuple[float, float], frame: Box, reach: float
) -> tuple[np.ndarray, np.ndarray]:  # [n], [n]: lower left corners
    """Positions beside the anchor, and a grid over the frame."""
    (x, y), (width, height) = anchor, size
    near = [(x + a, y + b) for a in (6, -width / 2, -width - 6) for b in (6, -height / 2, -height - 6)]
    right, top = frame.x1 - width, frame.y1 - height
    if right < frame.x0 or top < frame.y0:
        return np.empty(0), np.empty(0)
    columns = np.arange(max(frame.x0, x - width - reach), min(right, x + reach), STEP)
    rows = np.arange(max(frame.y0, y - height - reach), min(top, y + reach), STEP)
    grid_x, grid_y = np.meshgrid(columns, rows)
    corners = np.concatenate([np.array(near), np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)])  # [n, 2]
    inside = (corners >= (frame.x0, frame.y0)).all(axis=1) & (corners <= (right, top)).all(axis=1)
    return corners[inside, 0], corners[inside, 1]


def _distance(x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    """[n]: pixels between each candidate and a point, 0 inside."""
    dx = np.maximum(np.maximum(x0 - point[0], point[0] - x1), 0)
    dy = np.maximum(np.maximum(y0 - point[1], point[1] - y1), 0)
    return np.hypot(dx, dy)


def _hit(x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """[boxes, n]: which candidates overlap which boxes."""
    edges = np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes]).reshape(-1, 4, 1)
    return (x0 < edges[:, 2]) & (edges[:, 0] < x1) & (y0 < edges[:, 3]) & (edges[:, 1] < y1)


def _crossed(start: tuple[float, float], ends: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """[n]: how many boxes each segment from `start` to `ends` [n, 2] passes through, tested at 24 points of it."""
    shares = np.linspace(0, 1, 24).reshape(-1, 1)
    x = start[0] + shares * (ends[:, 0] - start[0])  # [24, n]
    y = start[1] + shares * (ends[:, 1] - start[1])
    return _hit(x.ravel(), y.ravel(), x.ravel(), y.ravel(), boxes).reshape(-1, *x.shape).any(axis=1).sum(axis=0)


def _leader(axes: Axes, box: Box, x: float, y: float, colour: str) -> None:
    near = box.grown(-GAP).nearest(x, y)
    if np.hypot(near[0] - x, near[1] - y) > FAR:
        ends = axes.transAxes.inverted().transform([(x, y), near])  # [2, 2]
        axes.plot(ends[:, 0], ends[:, 1], transform=axes.transAxes, color=colour, linewidth=0.8, zorder=2)
