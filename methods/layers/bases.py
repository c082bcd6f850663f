"""Orthonormal bases of R^n: row k is the k-th basis function, low frequencies first.

A basis is made again from its name and size wherever it is needed, so no file stores one. To add a basis: one function
`(n, rows) -> [rows, n]` and one line in `BASES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def _dct(n: int, rows: int) -> Tensor:
    """DCT-II: sqrt(2/n) cos(pi (2i + 1) k / 2n), row 0 by sqrt(1/2) (Ahmed, Natarajan, Rao 1974)."""
    k, i = torch.arange(rows)[:, None], torch.arange(n)
    matrix = math.sqrt(2 / n) * torch.cos(_turns((2 * i + 1) * k, 4 * n))
    matrix[0] *= math.sqrt(0.5)
    return matrix


def _dst(n: int, rows: int) -> Tensor:
    """DST-II: sqrt(2/n) sin(pi (2i + 1) (k + 1) / 2n), row n - 1 by sqrt(1/2) (Martucci 1994)."""
    k, i = torch.arange(rows)[:, None], torch.arange(n)
    matrix = math.sqrt(2 / n) * torch.sin(_turns((2 * i + 1) * (k + 1), 4 * n))
    if rows == n:
        matrix[n - 1] *= math.sqrt(0.5)
    return matrix


def _turns(numerator: Tensor, denominator: int) -> Tensor:
    """2 pi numerator / denominator, float64; whole turns are taken off in integers, so size costs no accuracy."""
    return (numerator % denominator).double() * (2 * math.pi / denominator)


BASES: dict[str, Callable[[int, int], Tensor]] = {
    "dct": _dct,
    "dst": _dst,
}


def basis(kind: str, n: int, rows: int | None = None) -> Tensor:
    """The first `rows` (all by default) functions of an orthonormal basis; float64 [rows, n], on the CPU.

    Raises:
        ValueError: `kind` is not in `BASES`, or the sizes do not fit.
    """
    rows = n if rows is None else rows
    if kind not in BASES:
        raise ValueError(f"unknown basis {kind!r}: use one of {', '.join(sorted(BASES))}")
    if not 1 <= rows <= n:
        raise ValueError(f"a basis of size n has 1 to n rows, got n={n}, rows={rows}")
    matrix = torch.empty(rows, n, dtype=torch.float64)
    if matrix.is_meta:  # a layer made without storage, to learn its shapes
        return matrix
    return BASES[kind](n, rows)
