"""Which of two rows or curves is more accurate: paired over seeds, at the same setting or at the same file size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from bench.intervals import difference, over_seeds, paired_difference
from reports.hits import Score, on_the_same_images
from reports.sweeps import Curve, Panel, Point, Sample

SAME_BYTES = 0.05  # of a file's size: a method that stores other things at the same setting is not compared there


@dataclass(frozen=True)
class Difference:
    """Accuracy of one less accuracy of another, as fractions, with its 95 % interval."""

    mean: float
    low: float
    high: float
    seeds: int
    image_by_image: bool = False  # of one seed: whether it is known which images each gets right

    @property
    def better(self) -> bool:
        """Whether the interval lies above zero."""
        return self.low > 0

    @property
    def worse(self) -> bool:
        """Whether the interval lies below zero."""
        return self.high < 0

    @property
    def how(self) -> str:
        """Where the interval comes from."""
        if self.seeds == 1:
            return f"95 %, {'paired by image' if self.image_by_image else 'Newcombe'}, on one seed"
        return f"95 %, Student's t, over {self.seeds} seeds{', which bound nothing' if self.seeds == 2 else ''}"


@dataclass(frozen=True)
class Setting:
    """Two curves at one swept value."""

    text: str  # "keep=0.25"
    value: float
    difference: Difference


@dataclass(frozen=True)
class AtBytes:
    """Two curves at one file size."""

    file_bytes: float
    difference: Difference


def paired(pairs: Sequence[tuple[Score, Score]]) -> Difference:
    """First less second over pairs of the same seed: Student's t; of one pair the paired interval over the images, and
    Newcombe's from the counts where it is not known which images are right.

    Over seeds the standard deviation counts as one image at least: differences that are whole images can be the same
    in a few seeds by chance.
    """
    gaps = [a.share - b.share for a, b in pairs]
    if len(pairs) == 1:
        return _on_one_seed(*pairs[0])
    spread = over_seeds(gaps, smallest_std=1 / max(one.seen for pair in pairs for one in pair))
    return Difference(spread.mean, spread.low, spread.high, len(gaps))


def _on_one_seed(first: Score, second: Score) -> Difference:
    gap = first.share - second.share
    if first.hits and second.hits and on_the_same_images(first.hits, second.hits):
        return Difference(gap, *paired_difference(*first.hits.only(second.hits), first.seen), 1, image_by_image=True)
    counts = [(min(one.seen, max(0, round(one.share * one.seen))), one.seen) for one in (first, second)]
    return Difference(gap, *difference(counts[0], counts[1]), 1)


def counterpart(panel: Panel, curve: Curve, method: str) -> Curve | None:
    """The curve of `method` in the panel that is like `curve` otherwise: the same later stages, and the same values of
    the settings that both have. Of several the first by name."""
    for other in panel.curves:
        if other.method == method and other.stages[1:] == curve.stages[1:]:
            own, its = dict(curve.stages[0][1]), dict(other.stages[0][1])
            if all(own[key] == its[key] for key in own.keys() & its.keys()):
                return other
    return None


def at_settings(curve: Curve, control: Curve) -> list[Setting]:
    """The two curves at each swept value that both have, on the seeds that both have, in falling value; only where the
    files are as large as each other, to SAME_BYTES."""
    theirs = {point.text: point for point in control.points}
    found = []
    for point in reversed(curve.points):
        other = theirs.get(point.text)
        pairs = [(a, b) for a, b in _same_seed(point.samples, other.samples) if _as_large(a, b)] if other else []
        if pairs:
            found.append(Setting(point.text, point.value, paired([(a.score, b.score) for a, b in pairs])))
    return found


def over_settings(curve: Curve, control: Curve) -> Difference | None:
    """The mean difference over the compared settings: each seed's mean, then Student's t over the seeds that have all
    settings. With one such seed the mean of the settings' intervals, which assumes nothing about how they go together.
    """
    settings = at_settings(curve, control)
    if not settings:
        return None
    texts = {one.text for one in settings}
    own, theirs = (
        [{s.seed: s for s in point.samples} for point in one.points if point.text in texts] for one in (curve, control)
    )
    seeds = sorted(set.intersection(*(set(point) for point in (*own, *theirs))))
    if len(seeds) < 2:
        single = _all(settings)
        means = [fmean(values) for values in zip(*((d.mean, d.low, d.high) for d in single), strict=True)]
        by_image = all(one.image_by_image for one in single)
        return Difference(means[0], means[1], means[2], min(one.seeds for one in single), by_image)
    shares = [(_mean_share([point[seed] for point in own]), _mean_share([p[seed] for p in theirs])) for seed in seeds]
    return paired(shares)


def at_equal_bytes(curve: Curve, control: Curve) -> list[AtBytes]:
    """The two curves at each file size of either that lies in the range of both: accuracy is interpolated over the
    logarithm of the bytes, seed by seed. In rising size; empty where the ranges or the seeds have nothing in common."""
    ours, theirs = _distinct(curve), _distinct(control)
    if not ours or not theirs:
        return []
    low = max(ours[0].file_bytes, theirs[0].file_bytes)
    high = min(ours[-1].file_bytes, theirs[-1].file_bytes)
    found = []
    for size in sorted({p.file_bytes for p in (*ours, *theirs) if low <= p.file_bytes <= high}):
        own, its = _read(ours, size), _read(theirs, size)
        pairs = [(own[seed], its[seed]) for seed in sorted(own.keys() & its.keys())]
        if pairs:
            found.append(AtBytes(size, paired(pairs)))
    return found


def _as_large(own: Sample, other: Sample) -> bool:
    return abs(own.file_bytes / other.file_bytes - 1) <= SAME_BYTES


def _all(settings: Sequence[Setting]) -> list[Difference]:
    return [one.difference for one in settings]


def _same_seed(own: Sequence[Sample], theirs: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    beside = {one.seed: one for one in theirs}
    return [(one, beside[one.seed]) for one in own if one.seed in beside]


def _mean_share(samples: Sequence[Sample]) -> Score:
    return Score(fmean(one.share for one in samples), max(one.accuracy.seen for one in samples))


def _distinct(curve: Curve) -> list[Point]:
    """The measured points in rising bytes; of those with files of the same size the most accurate."""
    best: dict[float, Point] = {}
    for point in curve.measured:
        size = point.file_bytes
        if size not in best or _rank(point.samples) > _rank(best[size].samples):
            best[size] = point
    return list(best.values())


def _rank(samples: Sequence[Sample]) -> tuple[float, int]:
    mean = _mean_share(samples)
    return mean.share, mean.seen


def _read(points: Sequence[Point], file_bytes: float) -> dict[int, Score]:
    """The accuracy of each seed at a size in the points' range: a point's own, or on the straight line between its two
    neighbours, of the seeds that both have."""
    for point in points:
        if point.file_bytes == file_bytes:
            return {one.seed: one.score for one in point.samples}
    left, right = next((a, b) for a, b in pairwise(points) if a.file_bytes < file_bytes < b.file_bytes)
    weight = math.log(file_bytes / left.file_bytes) / math.log(right.file_bytes / left.file_bytes)
    return {
        a.seed: Score(a.share + weight * (b.share - a.share), a.accuracy.seen)
        for a, b in _same_seed(left.samples, right.samples)
    }
