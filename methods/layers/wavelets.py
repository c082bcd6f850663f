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
    approximation, details = torch.eye(n, dtype=torch.float64), []
    while (m := approximation.shape[0]) > 1:
        even, last = approximation[: m - m % 2], approximation[m - m % 2 :]
        low, high = level(family, even.shape[0])
        details.append(high @ even)
        approximation = torch.cat([low @ even, last])
    return torch.cat([approximation, *reversed(details)])[:rows]


def level(family: str, m: int) -> tuple[Tensor, Tensor]:
    """One level for an even number m of samples: approximation and detail rows, float64 [m/2, m] each."""
    low_pass = torch.tensor(LOW_PASS[family], dtype=torch.float64)
    length = len(low_pass)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(length // 2)
    positions = 2 * torch.arange(m // 2)[:, None] + torch.arange(length) - (length // 2 - 1)
    low, high = torch.zeros(2, m // 2, m, dtype=torch.float64)
    low.scatter_add_(1, positions % m, low_pass.expand(m // 2, length))
    high.scatter_add_(1, positions % m, (signs * low_pass.flip(0)).expand(m // 2, length))
    return low, high
