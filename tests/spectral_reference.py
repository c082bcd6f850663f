"""Every transform and spectral layer again, in NumPy and SciPy, from their definitions: what ours is held against.

Nothing of `methods` is used here.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pywt
import scipy.fft
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]


def matrix(kind: str, n: int) -> Array:
    """The whole basis [n, n], a function a row."""
    if kind in ("dct", "dst"):
        transform = scipy.fft.dct if kind == "dct" else scipy.fft.dst
        return transform(np.eye(n), type=2, norm="ortho", axis=0)
    if kind == "dft":
        return _fourier(n)
    if kind == "hadamard":
        return _walsh(n)
    if kind.partition(":")[0] == "random":
        return _random(n, int(kind.partition(":")[2] or 0))
    return np.stack([_wavelet(unit, kind) for unit in np.eye(n)], axis=1)


def _fourier(n: int) -> Array:
    """Real and imaginary parts of the half spectrum, scaled to norm one."""
    rows = []
    for k in range(n // 2 + 1):
        wave = np.exp(2j * np.pi * k * np.arange(n) / n)
        rows += [part for part in (wave.real, wave.imag) if np.abs(part).max() > 1e-9]
    return np.stack([row / np.linalg.norm(row) for row in rows])


def _walsh(n: int) -> Array:
    """Blocks of the binary expansion of n; rows by sign changes a sample, then by block."""
    rows, start = [], 0
    for size in (2**bit for bit in range(n.bit_length() - 1, -1, -1) if n & 2**bit):
        for row in scipy.linalg.hadamard(size) / math.sqrt(size):
            changes = int((np.diff(np.sign(row)) != 0).sum())
            rows.append((changes / size, start, np.pad(row, (start, n - start - size))))
        start += size
    return np.stack([row for _, _, row in sorted(rows, key=lambda one: one[:2])])


def _random(n: int, seed: int) -> Array:
    """Gram and Schmidt on seeded noise, one row after another."""
    rows: list[Array] = []
    for noise in np.random.RandomState(seed).standard_normal((n, n)):
        row = noise
        for _ in range(2):  # twice is enough
            row = row - sum((row @ other) * other for other in rows)
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)


def _wavelet(signal: Array, family: str) -> Array:
    """All coefficients of a signal: a level at a time, the last of an odd number of samples handed up as it is."""
    details = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of filters longer than the signal, which wrap, as they should
        while len(signal) > 1:
            even = len(signal) - len(signal) % 2
            approximation, detail = pywt.dwt(signal[:even], family, mode="periodization")
            details.insert(0, detail)
            signal = np.concatenate([approximation, signal[even:]])
    return np.concatenate([signal, *details])


def triangle(rows: int, columns: int, diagonal: int) -> NDArray[np.bool_]:
    return np.array([[diagonal == 0 or i + j < diagonal for j in range(columns)] for i in range(rows)])


def linear_weight(spectrum: Array, kind: str, outputs: int, inputs: int) -> Array:
    """[keep_out, keep_in] -> [outputs, inputs], a sum of products of basis functions."""
    left, right = matrix(kind, outputs), matrix(kind, inputs)
    weight = np.zeros((outputs, inputs))
    for (i, j), value in np.ndenumerate(spectrum):
        weight += value * np.outer(left[i], right[j])
    return weight


def convolution_weight(spectrum: Array, kind: str, sides: tuple[int, ...], channels: bool, taps: bool) -> Array:
    """One group: [keep_out, keep_in, *kept taps] -> sides [outputs, inputs, kh, kw], an axis at a time."""
    for axis, size in enumerate(sides):
        if channels if axis < 2 else taps:
            functions = matrix(kind, size)[: spectrum.shape[axis]]
            spectrum = np.moveaxis(np.tensordot(spectrum, functions, axes=(axis, 0)), -1, axis)
    return spectrum


def convolve(x: Array, weight: Array, bias: Array | None, layer: Any, margins: list[int]) -> Array:
    """A grouped convolution by its definition: [n, in, h, w] with [out, in/g, kh, kw].

    layer: has stride, dilation, groups and padding_mode. margins: (left, right, top, bottom).
    """
    mode = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[layer.padding_mode]
    left, right, top, bottom = margins
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), mode=mode)
    (outputs, width, kh, kw), (sy, sx), (dy, dx) = weight.shape, layer.stride, layer.dilation
    rows, columns = (x.shape[2] - dy * (kh - 1) - 1) // sy + 1, (x.shape[3] - dx * (kw - 1) - 1) // sx + 1
    y = np.zeros((len(x), outputs, rows, columns))
    for out in range(outputs):
        first = out // (outputs // layer.groups) * width
        for row in range(rows):
            for column in range(columns):
                patch = x[:, first : first + width, row * sy :: dy, column * sx :: dx][:, :, :kh, :kw]
                y[:, out, row, column] = (patch * weight[out]).sum((1, 2, 3))
    return y if bias is None else y + bias[:, None, None]
