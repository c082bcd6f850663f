"""Confidence intervals and tests of shares, of their differences and of means over seeds. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, stdev

UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, sample standard deviation and interval of the mean; NaN where one seed cannot tell."""

    count: int
    mean: float
    std: float
    low: float
    high: float


def wilson(correct: int, seen: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927), as fractions in [0, 1]; (0, 1) where nothing was seen.

    Raises:
        ValueError: counts that are no proportion, or a confidence outside (0, 1).
    """
    if not 0 <= correct <= seen:
        raise ValueError(f"correct must be between 0 and seen, got {correct} of {seen}")
    if seen == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
    share, scale = correct / seen, 1 + z * z / seen
    middle = (share + z * z / (2 * seen)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / seen + z * z / (4 * seen * seen))
    return (0.0 if correct == 0 else middle - half), (1.0 if correct == seen else middle + half)


def difference(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of share(first) - share(second), each (correct, seen): Newcombe 1998, method 10, from two Wilson ones.

    Independent samples are assumed; on the same images, where errors go together, it is wider than needed.
    """
    (a, n), (b, m) = first, second
    low_a, high_a = wilson(a, n, confidence)
    low_b, high_b = wilson(b, m, confidence)
    if not n or not m:
        return -1.0, 1.0
    p, q = a / n, b / m
    return p - q - math.hypot(p - low_a, high_b - q), p - q + math.hypot(high_a - p, q - low_b)


def paired_difference(only_first: int, only_second: int, seen: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of share(first) - share(second) on the same `seen` images, from the images that only one gets right.

    Those discordant counts are what McNemar's test looks at. Wald's interval after one image is added to each (Bonett
    and Price 2012, J. Educ. Behav. Stat. 37(4), 479-488, their adjusted interval for paired proportions):
    p = (only_first + 1) / (seen + 2), q = (only_second + 1) / (seen + 2), p - q +- z sqrt((p + q - (p - q)^2) /
    (seen + 2)). It has a width where the two never differ, and its middle is pulled towards zero.

    Raises:
        ValueError: counts that do not fit `seen`, or a confidence outside (0, 1).
    """
    if min(only_first, only_second) < 0 or only_first + only_second > seen:
        raise ValueError(
            f"only_first and only_second must add up to at most seen, got {only_first}, {only_second} of {seen}"
        )
    z = NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
    p, q = (only_first + 1) / (seen + 2), (only_second + 1) / (seen + 2)
    half = z * math.sqrt((p + q - (p - q) ** 2) / (seen + 2))
    return max(p - q - half, -1.0), min(p - q + half, 1.0)


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test, two-sided, from the images that only one of two classifiers gets right: how
    likely so uneven a split is where each such image falls to either side alike (McNemar 1947; the exact form is the
    sign test). It is never too small, so that corrections for many tests keep their level.

    Raises:
        ValueError: a negative count.
    """
    few, count = min(only_first, only_second), only_first + only_second
    if few < 0:
        raise ValueError(f"counts cannot be negative, got {only_first} and {only_second}")
    if 2 * few >= count - 1:  # as even as can be; the two tails are all there is
        return 1.0
    logarithm = math.lgamma(count + 1) - math.lgamma(few + 1) - math.lgamma(count - few + 1) - count * math.log(2)
    term = total = 1.0  # beside the largest term of the tail
    for k in range(few, 0, -1):
        term *= k / (count - k + 1)
        total += term
        if term < 1e-17 * total:
            break
    return min(1.0, 2 * math.exp(logarithm + math.log(total)))


def normal_p(z: float) -> float:
    """The two-sided p-value of a standard normal statistic."""
    return math.erfc(abs(z) / math.sqrt(2))


def student_p(t: float, freedom: int) -> float:
    """The two-sided p-value of Student's statistic with `freedom` degrees of freedom."""
    return max(0.0, 2 * (1 - _student_cdf(abs(t), freedom)))


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which of several tests reject: the chance that any rejects a true hypothesis is at most `level`, however they
    depend on each other (Holm 1979, Scand. J. Stat. 6(2), 65-70): the smallest p-value is held against level / m, the
    next against level / (m - 1), and so on until one is larger."""
    found = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - rank):
            break
        found[index] = True
    return found


def over_seeds(
    values: Sequence[float],
    confidence: float = 0.95,
    limits: tuple[float, float] = UNBOUNDED,
    smallest_std: float = 0.0,
) -> Spread:
    """Mean, sample standard deviation and Student's t interval of the mean over the finite ones of `values`, cut to
    `limits` (of a share: 0 and 1). In the interval a standard deviation below `smallest_std` counts as that."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Spread(0, math.nan, math.nan, math.nan, math.nan)
    mean = fmean(known)
    if len(known) == 1:
        return Spread(1, mean, math.nan, math.nan, math.nan)
    std = stdev(known)
    half = student_t(0.5 + _checked(confidence) / 2, len(known) - 1) * max(std, smallest_std) / math.sqrt(len(known))
    return Spread(len(known), mean, std, max(mean - half, limits[0]), min(mean + half, limits[1]))


@cache
def student_t(probability: float, freedom: int) -> float:
    """The quantile of Student's t at `probability` in (0.5, 1), by bisection of the closed form for whole `freedom`."""
    low, high = 0.0, 2.0
    while _student_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_cdf(middle, freedom) < probability else (low, middle)
    return high


def _student_cdf(t: float, freedom: int) -> float:
    """P(T <= t) for t >= 0: the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    share = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + share / 2


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}: pass 0.95 for 95 %")
    return confidence
