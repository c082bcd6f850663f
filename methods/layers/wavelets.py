"""Orthonormal wavelet bases of R^n for every n: the periodised transform of Mallat, down to a single sample.

A level takes m samples to m/2 approximations and m/2 details by filters that wrap around the end. Where m is odd, the
last sample is handed to the next level as it is, beside the (m - 1)/2 approximations: every length is served without
padding, and the basis stays orthonormal. Filters are those of Daubechies, "Ten Lectures on Wavelets" (1992): tables 6.1
(db), 6.3 (sym) and 8.1 (coif), each normalised to sum up to sqrt(2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROOT_3, _ROOT_7 = math.sqrt(3), math.sqrt(7)
LOW_PASS: dict[str, tuple[float, ...]] = {
    "haar": (math.sqrt(0.5), math.sqrt(0.5)),
    "db2": tuple(c / (4 * math.sqrt(2)) for c in (1 + _ROOT_3, 3 + _ROOT_3, 3 - _ROOT_3, 1 - _ROOT_3)),
    "db4": (
        0.2303778133088965, 0.7148465705529157, 0.6308807679298589, -0.027983769416859854,
        -0.18703481171909309, 0.030841381835560764, 0.0328830116668852, -0.010597401785069032,
    ),
    "sym4": (
        0.0322231006040427, -0.012603967262037833, -0.09921954357684722, 0.29785779560527736,
        0.8037387518059161, 0.49761866763201545, -0.02963552764599851, -0.07576571478927333,
    ),
    "coif1": tuple(
        c / (16 * math.sqrt(2))
        for c in (1 - _ROOT_7, 5 + _ROOT_7, 14 + 2 * _ROOT_7, 14 - 2 * _ROOT_7, 1 - _ROOT_7, -3 + _ROOT_7)
    ),
}  # fmt: skip


def wavelet(family: str, n: int, rows: int) -> Tensor:
    """The first `rows` functions of the basis of a family of `LOW_PASS`; float64 [rows, n]. The approximation comes
    first, then details from the coarsest level to the finest, each level from left to right."""
    sizes = [n]  # of the approximations, from the samples to the last
    while sizes[-1] > 1:
        sizes.append((sizes[-1] + 1) // 2)
    units = torch.eye(rows, dtype=torch.float64)
    signal, start = units[:, :1], 1  # the inverse transform of each unit of coefficients
    for m in reversed(sizes[:-1]):
        details = units[:, start : start + m // 2]
        signal, start = _one_level_up(family, signal, details, m), start + m // 2
    return signal


def _one_level_up(family: str, approximation: Tensor, details: Tensor, m: int) -> Tensor:
    """The m samples of which these are the approximation [rows, (m + 1)/2] and the details [rows, at most m/2; zero
    beyond]."""
    even = m - m % 2
    samples = approximation.new_zeros(len(approximation), m)
    for part, filters in ((approximation[:, : even // 2], _low(family)), (details, _high(family))):
        for offset, weight in enumerate(filters.tolist()):
            samples.index_add_(1, _positions(family, even)[: part.shape[1], offset], weight * part)
    if m % 2:
        samples[:, -1] = approximation[:, -1]
    return samples


def level(family: str, m: int) -> tuple[Tensor, Tensor]:
    """One level for an even number m of samples: approximation and detail rows, float64 [m/2, m] each."""
    low, high = torch.zeros(2, m // 2, m, dtype=torch.float64)
    for rows, filters in ((low, _low(family)), (high, _high(family))):
        rows.scatter_add_(1, _positions(family, m), filters.expand(m // 2, -1))
    return low, high


def _low(family: str) -> Tensor:
    return torch.tensor(LOW_PASS[family], dtype=torch.float64)


def _high(family: str) -> Tensor:
    """The quadrature mirror of the low-pass filter."""
    low = _low(family)
    return torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(len(low) // 2) * low.flip(0)


def _positions(family: str, m: int) -> Tensor:
    """The samples that each filter reads, int64 [m/2, length]."""
    length = len(LOW_PASS[family])
    return (2 * torch.arange(m // 2)[:, None] + torch.arange(length) - (length // 2 - 1)) % m
