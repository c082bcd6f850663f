"""Whether two rows of a run are equally accurate: p-values from the same test images and the same seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, variance

from bench.intervals import mcnemar, normal_p, student_p
from reports.hits import Score, on_the_same_images
from reports.moderation import Prior, prior

POOLED = 3  # seeds from which on the variances of other pairs are taken into account
ONE_SEED = (
    "of one seed by McNemar's exact test on the test images that only one of the two gets right (where a record holds "
    "no predictions or no labels, by the counts, as if of independent samples)"
)
SEVERAL_SEEDS = (
    "of several seeds by two tests that both have to reject: Student's t over the seeds' differences, of "
    f"{POOLED} seeds or more with each pair's variance drawn towards that of all pairs as far as they agree (Smyth "
    "2004, Stat. Appl. Genet. Mol. Biol. 3(1)), and McNemar's test for clusters over the images (Durkalski et al. "
    "2003, Stat. Med. 22(15)): seeds are not counted as images, nor images as seeds"
)

Scores = Sequence[tuple[Score, Score]]  # of two rows, a pair a seed


def prior_of(pairs: Sequence[Scores], rows: int) -> Prior:
    """What the pairs of `rows` rows say together of the variance of a difference over seeds, of POOLED seeds at least.

    Beside a pair's own freedom it is worth no more than what (rows - 1) (seeds - 1) leaves: the degrees of freedom of
    what remains when rows and seeds have their means.
    """
    known = [(_variance(one), len(one) - 1) for one in pairs if len(one) >= POOLED]
    freedom = max((one for _, one in known), default=0)
    return prior(known, most_freedom=(rows - 2) * freedom)


def p_value(scores: Scores, known: Prior) -> float:
    """The two-sided p-value of equal accuracy, by ONE_SEED or SEVERAL_SEEDS; 1 where there is no seed in common."""
    if not scores:
        return 1.0
    if len(scores) == 1:
        return _on_one_seed(*scores[0])
    return max(_over_seeds(scores, known), _over_images(scores))


def _on_one_seed(first: Score, second: Score) -> float:
    if first.hits and second.hits and on_the_same_images(first.hits, second.hits):
        return mcnemar(*first.hits.only(second.hits))
    together = (first.share * first.seen + second.share * second.seen) / (first.seen + second.seen)
    error = math.sqrt(together * (1 - together) * (1 / first.seen + 1 / second.seen))
    return normal_p((first.share - second.share) / error) if error > 0 else 1.0


def _variance(scores: Scores) -> float:
    """Sample variance of the differences, that of one image at least: a few can be the same by chance."""
    least = 1 / max(one.seen for pair in scores for one in pair)
    return max(variance(first.share - second.share for first, second in scores), least * least)


def _over_seeds(scores: Scores, known: Prior) -> float:
    own, freedom = _variance(scores), len(scores) - 1
    if len(scores) >= POOLED:
        own, freedom = known.drawn(own, freedom)
    mean = fmean(first.share - second.share for first, second in scores)
    return student_p(mean / math.sqrt(own / len(scores)), freedom)


def _over_images(scores: Scores) -> float:
    """An image's differences, summed over the seeds, are one observation. 0 where images are not known, or not the same
    in all seeds: then the seeds alone decide."""
    hits = [one.hits for pair in scores for one in pair]
    if not all(on_the_same_images(one, hits[0]) for one in hits):
        return 0.0
    images = [one.images for one in hits if one]
    sides = [(a & ~b, b & ~a) for a, b in zip(images[::2], images[1::2], strict=True)]
    total = sum(up.bit_count() - down.bit_count() for up, down in sides)
    squares = sum(up.bit_count() + down.bit_count() for up, down in sides)
    for (up, down), (up2, down2) in combinations(sides, 2):
        same = (up & up2).bit_count() + (down & down2).bit_count()
        squares += 2 * (same - (up & down2).bit_count() - (down & up2).bit_count())
    return normal_p(total / math.sqrt(squares)) if squares else 1.0
