"""Orthonormal Haar and Walsh-Hadamard transforms over the last axis, of power-of-two lengths: sums and differences."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from methods.layers.bases import basis

RADIX = 32  # of Walsh-Hadamard butterflies, which are products with a small matrix


def haar(x: Tensor) -> Tensor:
    """All Haar coefficients of x [..., power of two], from the mean to the finest."""
    details = []
    while x.shape[-1] > 1:
        even, odd = x[..., ::2], x[..., 1::2]
        details.append((even - odd) * math.sqrt(0.5))
        x = (even + odd) * math.sqrt(0.5)
    return torch.cat([x, *reversed(details)], dim=-1)


def haar_inverse(z: Tensor) -> Tensor:
    x, start = z[..., :1], 1
    while start < z.shape[-1]:
        detail = z[..., start : 2 * start]
        x = torch.stack([x + detail, x - detail], dim=-1).flatten(-2) * math.sqrt(0.5)
        start *= 2
    return x


def walsh(x: Tensor) -> Tensor:
    """All Walsh-Hadamard coefficients of x [..., power of two], by number of sign changes.

    The matrix in Sylvester's order is a Kronecker product of small ones, one for each factor of the length."""
    return _butterflies(x).index_select(-1, _walsh_order(x.shape[-1], x.device)[0])


def walsh_inverse(z: Tensor) -> Tensor:
    return _butterflies(z.index_select(-1, _walsh_order(z.shape[-1], z.device)[1]))


def _butterflies(x: Tensor) -> Tensor:
    n, done = x.shape[-1], 1
    while done < n:
        radix = min(RADIX, n // done)
        matrix = _sylvester(radix, x.dtype, x.device)
        shaped = x.unflatten(-1, (n // done // radix, radix, done))
        x = torch.einsum("rs,...asd->...ard", matrix, shaped).flatten(-3)
        done *= radix
    return x


@lru_cache(maxsize=64)
def _sylvester(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthonormal Hadamard matrix of a power of two in its own order, which is that of bits; [n, n]."""
    with torch.inference_mode(False), torch.no_grad():
        order = _walsh_order(n, torch.device("cpu"))[1]
        return basis("hadamard", n)[order].to(device, dtype)


@lru_cache(maxsize=64)
def _walsh_order(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each number of sign changes its row in Sylvester's order, int64 [n], and the inverse: the bits of the Gray
    code of the number, from the other end."""
    with torch.inference_mode(False), torch.no_grad():
        changes = torch.arange(n)
        gray, order = changes ^ (changes >> 1), torch.zeros(n, dtype=torch.int64)
        for bit in range(n.bit_length() - 1):
            order |= (gray >> bit & 1) << (n.bit_length() - 2 - bit)
        return order.to(device), order.argsort().to(device)
