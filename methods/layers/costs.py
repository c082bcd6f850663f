"""What the steps of spectral layers cost, in seconds: a model by which a layer chooses its path.

Constants are of one core with AVX-512, fitted to `python -m bench.spectral_speed`, which shows how often the model
chooses well; on other processors it is ratios that matter, and they change less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from methods.layers import fast, products

_Name = TypeVar("_Name", bound=str)

_START = 2.5e-6  # of a matrix product
_MAC = 2.1e-11  # a multiply-accumulate in MKL
_READ = 5e-11  # a number of the matrix, which one batch reads once, from the cache
_READ_MEMORY = 1.7e-10  # the same where the matrix does not fit into the cache
_CACHE = 1 << 22  # numbers
_ONEDNN_START, _ONEDNN_MAC, _ONEDNN_READ = 8e-6, 8.5e-12, 1.5e-10  # oneDNN copies the matrix to its own layout
_CONV_START, _CONV_MAC, _CONV_READ = 8e-6, 8e-12, 4e-10  # of a convolution, which copies its weight as well
_FAST_START = 1.2e-5  # of a fast transform, which is several operations of torch
_FAST_OPERATION = 7.5e-11  # `fast.operations` counts them


def product_s(batch: int, width: int, height: int) -> float:
    """Of `products.linear` with a matrix [height, width]."""
    entries = width * height
    if products.in_onednn(batch, entries):
        return _ONEDNN_START + entries * (_ONEDNN_READ + batch * _ONEDNN_MAC)
    return _START + entries * ((_READ if entries < _CACHE else _READ_MEMORY) + batch * _MAC)


def transform_s(kind: str, batch: int, n: int, rows: int) -> float:
    """Of `fast.analysis` or `fast.synthesis` between n samples and `rows` coefficients."""
    return _FAST_START + batch * fast.operations(kind, n, rows) * _FAST_OPERATION


def convolution_s(batch: int, macs: int, entries: int, packed: bool = False) -> float:
    """Of a convolution of `macs` an image with a weight of so many entries, which it copies if it is not packed."""
    return _CONV_START + batch * macs * _CONV_MAC + entries * (_READ if packed else _CONV_READ)


def least(costs: Mapping[_Name, float]) -> _Name:
    """The name of the least cost, of equal ones the first; written so that a compiler can follow it."""
    best, *others = costs
    for name in others:
        if costs[name] < costs[best]:
            best = name
    return best
