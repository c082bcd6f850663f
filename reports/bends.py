"""Where a curve of accuracy over compression bends: how far a method goes at no loss, and where loss sets in."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    f"Of curves with {SETTINGS} measured settings or more: the largest compression ratio whose mean loss beside dense "
    f"is at most {100 * NO_LOSS:g} points, and the largest whose difference from dense has a 95 % interval that "
    "reaches zero. A curve bends at the setting from which the next one loses points, for each doubling of the "
    f"ratio, at {STEEPER:g} times the rate or more of the way from dense to there, and {100 * LEAST:g} point at "
    "least, the interval of the difference between the two settings leaving zero out; of several at the sharpest. "
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


def holds(points: Sequence[Point]) -> Point | None:
    """The point of the largest ratio at no loss worth the name; None where every one loses more."""
    return max((one for one in points if one.lost <= NO_LOSS + 1e-12), key=lambda one: one.ratio, default=None)


def alike(points: Sequence[Point], dense: Sequence[Sample] = ()) -> tuple[Point, Difference] | None:
    """The point of the largest ratio that cannot be told apart from dense, with its difference; None without one.

    dense: the dense network's samples, for which images it gets right.
    """
    known = [(one, gap) for one in points if (gap := _against_dense(one, dense)) and not gap.worse]
    return max(known, key=lambda one: one[0].ratio, default=None)


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
    kept, same, bent = holds(points), alike(points, panel.dense), bend(points)
    parts = [
        f"is within {100 * NO_LOSS:g} points of dense up to {ratio(kept.ratio)} ({markdown(kept.text)})"
        if kept
        else f"is more than {100 * NO_LOSS:g} points below dense at every setting"
    ]
    if same:
        point, gap = same
        parts.append(
            f"is not told apart from it up to {ratio(point.ratio)} ({markdown(point.text)}, {as_points(gap)} points)"
        )
    else:
        parts.append("is told apart from it at every setting")
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
    return f"{markdown(panel.name)}: `{curve.name}` {'; '.join(parts)}; {on_seeds(len(seeds))} {rests}"


def _below(point: Point) -> str:
    """The mean difference from dense in points, with its sign."""
    return f"{-100 * point.lost:+.2f}"
