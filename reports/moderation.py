"""Variances known from few seeds, drawn towards what all pairs of rows say of them. Standard library only.

Smyth 2004 (Linear models and empirical Bayes methods for assessing differential expression, Stat. Appl. Genet. Mol.
Biol. 3(1), section 6.2): true variances are taken to vary as a scale times freedom / chi-squared(freedom) does; both
are fitted to the mean and the variance of the logarithms of the measured ones. Where these differ no more than by
chance, all share one variance; where they differ much, the prior's freedom is near zero and each keeps its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

FEWEST = 3  # variances that a prior can be fitted to


@dataclass(frozen=True)
class Prior:
    """What is known of a variance beforehand, worth as many degrees of freedom."""

    variance: float
    freedom: float  # 0 where nothing is known

    def drawn(self, variance: float, freedom: int) -> tuple[float, int]:
        """A measured variance and its degrees of freedom once the prior is taken into account, freedom rounded down."""
        total = self.freedom + freedom
        return (self.freedom * self.variance + freedom * variance) / total, math.floor(total + 1e-9)


def prior(variances: Sequence[tuple[float, int]], most_freedom: float) -> Prior:
    """The prior of measured (variance above 0, degrees of freedom); most_freedom: as much as the data can be worth."""
    if len(variances) < FEWEST or most_freedom <= 0:
        return Prior(1.0, 0.0)
    logs = [math.log(variance) - digamma(freedom / 2) + math.log(freedom / 2) for variance, freedom in variances]
    mean = fmean(logs)
    by_chance = fmean(trigamma(freedom / 2) for _, freedom in variances)
    beyond = sum((one - mean) ** 2 for one in logs) / (len(logs) - 1) - by_chance
    if beyond <= trigamma(most_freedom / 2):
        return Prior(math.exp(mean + digamma(most_freedom / 2) - math.log(most_freedom / 2)), most_freedom)
    half = _inverse_trigamma(beyond)
    return Prior(math.exp(mean + digamma(half) - math.log(half)), 2 * half)


def digamma(x: float) -> float:
    """The derivative of log gamma at x > 0: recurrence up to 8, then the series of Abramowitz and Stegun, 6.3.18."""
    found = 0.0
    while x < 8:
        found, x = found - 1 / x, x + 1
    y = 1 / (x * x)
    return found + math.log(x) - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))


def trigamma(x: float) -> float:
    """The second derivative of log gamma at x > 0: recurrence up to 8, then Abramowitz and Stegun, 6.4.12."""
    found = 0.0
    while x < 8:
        found, x = found + 1 / (x * x), x + 1
    y = 1 / (x * x)
    return found + 1 / x + y / 2 + y / x * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - y * 5 / 66))))


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value > 0, by bisection of its logarithm: trigamma falls."""
    low, high = -30.0, 30.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if trigamma(math.exp(middle)) > value else (low, middle)
    return math.exp((low + high) / 2)
