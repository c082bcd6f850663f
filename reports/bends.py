"""Where a curve of accuracy over compression bends: how far a method goes at no loss, and where loss sets in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.records import RunRecord
from reports.cells import counted, markdown, ratio
from reports.comparisons import Difference, paired
from reports.hits import Score
from reports.pairing import on_seeds, seeds_text
from reports.pairing import points as as_points
from reports.roles import asked
from reports.sweeps import Curve, Panel, Point, Sample, sweeps

SETTINGS = 3  # measured ones that a curve needs
NO_LOSS = 0.005  # of accuracy: a mean loss up to it counts as none
STEEPER, LEAST = 3.0, 0.01  # a bend: loss a doubling beside that before it; of accuracy, lost at the next setting
BEND_RULE = (
    f"Of curves with {SETTINGS} measured settings or more: which have a mean loss beside dense of at most "
    f"{100 * NO_LOSS:g} points, and which a difference from dense whose 95 % interval does not lie below zero. `Up to` "
    "is said of a compression ratio where every measured setting of a smaller one does so too; where one does not, "
    "the one that lies lowest is told, and the largest ratio is given by itself. A curve bends at the setting from "
    "which the next one loses points, for each doubling of the ratio, at "
    f"{STEEPER:g} times the rate or more of the way from dense to there, and {100 * LEAST:g} point at least, the "
    "interval of the difference between the two settings leaving zero out; of several at the sharpest. "
    "Points are those of the row less dense's."
)


def bend_sentences(records: Sequence[RunRecord]) -> list[str]:
    """A sentence a curve, by BEND_RULE."""
    lines = []
    for panel in sweeps(asked(records)):
        for curve in panel.curves:
            points = _points(curve)
            if len(points) >= SETTINGS:
                lines.append(_sentence(panel, curve, points))
    return lines


@dataclass(frozen=True)
class Reach:
    """How far something holds along a curve: up to a setting without a break, and at what setting beyond the break."""

    up_to: Point | None  # of those before which every one holds, the one of the largest ratio
    beyond: Point | None  # the largest ratio at which it holds, where that is another
    broken: Point | None  # of the smaller ratios than `beyond` at which it does not, the one that loses most


def reach(points: Sequence[Point], holds: Callable[[Point], bool]) -> Reach:
    """How far `holds` is true of points in rising ratio."""
    those = [holds(one) for one in points]
    first = those.index(False) if False in those else len(those)
    last = max((index for index, one in enumerate(those) if one), default=-1)
    up_to = points[first - 1] if first else None
    if last < first:
        return Reach(up_to, None, None)
    broken = [one for one, true in zip(points[:last], those, strict=False) if not true]
    return Reach(up_to, points[last], max(broken, key=lambda one: one.lost))


def holds(points: Sequence[Point]) -> Reach:
    """How far the points, in rising ratio, show no loss worth the name."""
    return reach(points, lambda one: one.lost <= NO_LOSS + 1e-12)


def alike(points: Sequence[Point], dense: Sequence[Sample] = ()) -> tuple[Reach, Mapping[float, Difference]]:
    """How far the points, in rising ratio, are not shown to lie below dense, and each ratio's difference.

    dense: the dense network's samples, for which images it gets right.
    """
    known = {one.ratio: gap for one in points if (gap := _against_dense(one, dense))}
    return reach([one for one in points if one.ratio in known], lambda one: not known[one.ratio].worse), known


def bend(points: Sequence[Point]) -> tuple[Point, Point] | None:
    """The point at which a curve bends and the next one; None where it does not, by BEND_RULE. points: in rising
    ratio."""
    found = []
    for here, after in pairwise(points):
        before = _slope(1.0, 0.0, here) if here.ratio > 1 else 0.0
        steep = _slope(here.ratio, here.lost, after)
        gap = _between(here, after)
        if after.lost - here.lost >= LEAST and steep >= STEEPER * max(before, 0.0) and gap is not None and gap.better:
            found.append((steep - before, here, after))
    if not found:
        return None
    _, here, after = max(found, key=lambda one: one[0])
    return here, after


def _points(curve: Curve) -> list[Point]:
    """The measured points that have a dense network, in rising ratio, each ratio once: the most accurate."""
    known = [one for one in curve.measured if math.isfinite(one.ratio) and math.isfinite(one.lost) and one.ratio > 0]
    best: dict[float, Point] = {}
    for one in sorted(known, key=lambda one: (one.ratio, one.lost)):
        best.setdefault(one.ratio, one)
    return list(best.values())


def _slope(ratio_before: float, lost_before: float, point: Point) -> float:
    """Accuracy lost a doubling of the ratio; NaN where the ratio is the same."""
    doublings = math.log2(point.ratio / ratio_before)
    return (point.lost - lost_before) / doublings if doublings > 0 else math.nan


def _against_dense(point: Point, dense: Sequence[Sample]) -> Difference | None:
    pairs = [(one.score, _beside(one, dense)) for one in point.samples if one.dense and one.dense.seen]
    return paired(pairs) if pairs else None


def _beside(one: Sample, dense: Sequence[Sample]) -> Score:
    """The dense network's score in the runtime of `one`."""
    same = (other.score for other in dense if other.seed == one.seed and other.accuracy == one.dense)
    return next(same, Score(one.share + one.lost, one.accuracy.seen))


def _between(here: Point, after: Point) -> Difference | None:
    theirs = {one.seed: one for one in after.samples}
    pairs = [(one.score, theirs[one.seed].score) for one in here.samples if one.seed in theirs]
    return paired(pairs) if pairs else None


def _sentence(panel: Panel, curve: Curve, points: Sequence[Point]) -> str:
    (same, gaps), bent = alike(points, panel.dense), bend(points)
    parts = [
        _reached(holds(points), f"is within {100 * NO_LOSS:g} points of dense", _beside_dense)
        or f"is more than {100 * NO_LOSS:g} points below dense at every setting",
        _reached(same, "is not shown to lie below it", lambda one: f"{as_points(gaps[one.ratio])} points")
        or ("is shown to lie below it at every setting" if gaps else ""),
    ]
    if bent:
        here, after = bent
        parts.append(
            f"bends at {ratio(here.ratio)} ({markdown(here.text)}): {_below(here)} points there, {_below(after)} at "
            f"{ratio(after.ratio)} ({markdown(after.text)})"
        )
    else:
        parts.append("shows no bend")
    seeds = {sample.seed for one in points for sample in one.samples}
    texts = ", ".join(one.text.partition("=")[2] for one in points)
    key = points[0].text.partition("=")[0]
    rests = f"(rests on: {counted(len(points), 'row')}, {markdown(f'{key}={texts}')}; {seeds_text(seeds)})"
    return f"{markdown(panel.name)}: `{curve.name}` {'; '.join(filter(None, parts))}; {on_seeds(len(seeds))} {rests}"


def _reached(found: Reach, what: str, number: Callable[[Point], str]) -> str:
    """How far something holds in words, with what says so of each setting named; empty where it holds nowhere."""
    places = []
    if found.up_to:
        places.append(f"up to {_place(found.up_to, number)}")
    if found.beyond and found.broken:
        places.append(f"at {_place(found.beyond, number)}, but not at {_place(found.broken, number)} between")
        if not found.up_to:
            places[-1] = places[-1].removesuffix(" between")
    return f"{what} {' and '.join(places)}" if places else ""


def _place(point: Point, number: Callable[[Point], str]) -> str:
    return f"{ratio(point.ratio)} ({markdown(point.text)}, {number(point)})"


def _beside_dense(point: Point) -> str:
    return f"{_below(point)} points"


def _below(point: Point) -> str:
    """The mean difference from dense in points, with its sign."""
    return f"{-100 * point.lost:+.2f}"
