"""Orthonormal bases of R^n: row k is the k-th basis function, low frequencies first.

A basis is made again from its name and size wherever it is needed, so no file stores one. To add a basis: one function
`(n, rows) -> [rows, n]` and one line in `BASES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from methods.layers.wavelets import LOW_PASS, wavelet


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


def _dft(n: int, rows: int) -> Tensor:
    """Discrete Fourier transform of real signals, packed in real numbers: 1, cos 1, sin 1, cos 2, sin 2, ... (each
    sqrt(2/n); the constant, and for even n the last cosine, sqrt(1/n)). These are the real and imaginary parts of the
    half of the spectrum that determines the rest."""
    row, i = torch.arange(rows)[:, None], torch.arange(n)
    angle = _turns((row + 1) // 2 * i, n)
    matrix = math.sqrt(2 / n) * torch.where(row % 2 == 1, torch.cos(angle), torch.sin(angle))
    matrix[0] = math.sqrt(1 / n)
    if rows == n and n % 2 == 0:
        matrix[n - 1] *= math.sqrt(0.5)
    return matrix


def _hadamard(n: int, rows: int) -> Tensor:
    """Walsh-Hadamard functions by rising number of sign changes. A length that is no power of two is cut into those of
    its binary expansion, the largest first, each with its own functions: 12 = 8 + 4; rows go by changes a sample."""
    places: list[tuple[float, int, int, int]] = []  # (changes a sample, start of the block, its size, changes)
    start = 0
    for size in (1 << bit for bit in reversed(range(n.bit_length())) if n >> bit & 1):
        places += [(changes / size, start, size, changes) for changes in range(size)]
        start += size
    matrix = torch.zeros(rows, n, dtype=torch.float64)
    for row, (_, start, size, changes) in zip(matrix, sorted(places), strict=False):
        row[start : start + size] = _walsh(changes, size)
    return matrix


def _walsh(changes: int, size: int) -> Tensor:
    """The Walsh function of a power of two samples with that many sign changes, of norm one: its row in Sylvester's
    matrix has the bits of the Gray code of `changes` from the other end."""
    gray, bits = changes ^ (changes >> 1), size.bit_length() - 1
    index, parity = torch.arange(size), torch.zeros(size, dtype=torch.int64)
    for bit in range(bits):
        if gray >> bit & 1:
            parity ^= index >> (bits - 1 - bit) & 1
    return (1 - 2 * parity).double() / math.sqrt(size)


def _random(n: int, rows: int, seed: int = 0) -> Tensor:
    """A random orthonormal basis, uniform over all of them (Stewart 1980): the control that knows no frequency.

    Row k is noise made orthogonal to the rows before it. The generator's stream is one that NumPy promises to keep,
    since files hold a basis by its name alone."""
    noise = np.random.RandomState(seed).standard_normal((rows, n))
    q, r = np.linalg.qr(noise.T)
    return torch.from_numpy(np.ascontiguousarray((q * np.sign(np.diagonal(r))).T))


def _turns(numerator: Tensor, denominator: int) -> Tensor:
    """2 pi numerator / denominator, float64; whole turns are taken off in integers, so size costs no accuracy."""
    return (numerator % denominator).double() * (2 * math.pi / denominator)


BASES: dict[str, Callable[..., Tensor]] = {
    "dct": _dct,
    "dst": _dst,
    "dft": _dft,
    "hadamard": _hadamard,
    **{family: partial(wavelet, family) for family in LOW_PASS},
    "random": _random,
}


def basis(kind: str, n: int, rows: int | None = None) -> Tensor:
    """The first `rows` (all by default) functions of an orthonormal basis; float64 [rows, n], on the CPU.

    kind: a name of `BASES`; "random:7" is the random basis of seed 7.

    Raises:
        ValueError: `kind` is not in `BASES`, or the sizes do not fit.
    """
    rows = n if rows is None else rows
    name, _, seed = kind.partition(":")
    if name not in BASES or (seed and (name != "random" or not seed.isdecimal())):
        raise ValueError(f"unknown basis {kind!r}: use one of {', '.join(sorted(BASES))}, or random:SEED")
    if not 1 <= rows <= n:
        raise ValueError(f"a basis of size n has 1 to n rows, got n={n}, rows={rows}")
    matrix = torch.empty(rows, n, dtype=torch.float64)
    if matrix.is_meta:  # a layer made without storage, to learn its shapes
        return matrix
    return BASES[name](n, rows, int(seed)) if seed else BASES[name](n, rows)
