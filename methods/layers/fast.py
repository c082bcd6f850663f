"""Fast transforms: what products with a basis give, in O(n log n), and without the basis.

`analysis(kind, x, rows)` equals x @ basis(kind, n, rows).T and `synthesis(kind, z, n)` equals z @ basis(kind, n, rows),
both over the last axis, to rounding. Operations of torch only; each transform's gradient is the other one. To torch's
compiler each is one operator: it fuses no FFT, and would trace the making of tables. Half precisions are computed in
float32, which FFTs need, and float64 in float64.

  dct, dst   one real FFT of length n of the samples in the order 0, 2, 4, ..., 5, 3, 1 and a turn of each frequency
             (Makhoul 1980, "A fast cosine transform in one and two dimensions"); a sine transform is the cosine
             transform of samples with alternating signs, read from the other end
  dft        one real FFT
  haar       sums over pairs, where n is a power of two; the details that are not kept are never computed
  hadamard   sums over blocks, then butterflies of radix 32, where n is a power of two
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.library import CustomOpDef

from methods.layers.butterflies import RADIX, haar, haar_inverse, walsh, walsh_inverse

_Transform = Callable[[str, Tensor, int], Tensor]  # (kind, samples or coefficients [..., m], n) -> [..., n]

_BLOCK = 1 << 18  # samples that are transformed at a time: 1 MiB, the cache of one core


def has_fast(kind: str, n: int) -> bool:
    """Whether there is a fast transform of this length."""
    return kind in ("dct", "dst", "dft") or (kind in ("haar", "hadamard") and n & (n - 1) == 0)


def operations(kind: str, n: int, rows: int) -> float:
    """Multiply-accumulates of a fast transform, about: those of an FFT, or of sums and butterflies."""
    if kind in ("dct", "dst", "dft"):
        return 1.25 * n * math.log2(max(n, 2)) + 4 * n
    return n + (2 if kind == "haar" else RADIX * math.ceil(math.log(max(rows, 2), RADIX))) * _power_of_two(rows)


def analysis(kind: str, x: Tensor, rows: int) -> Tensor:
    """The first `rows` coefficients of x [..., n] -> [..., rows].

    Raises:
        ValueError: there is no fast transform of this kind and length (`has_fast`).
    """
    _require(kind, x.shape[-1], rows)
    return _apply(_analysis_op, _analysis, kind, x, rows)


def synthesis(kind: str, z: Tensor, n: int) -> Tensor:
    """The signal whose first coefficients are z [..., rows] and whose others are zero -> [..., n].

    Raises:
        ValueError: there is no fast transform of this kind and length (`has_fast`).
    """
    _require(kind, n, z.shape[-1])
    return _apply(_synthesis_op, _synthesis, kind, z, n)


@torch.library.custom_op("spectral::analysis", mutates_args=())
def _analysis_op(kind: str, x: Tensor, rows: int) -> Tensor:
    return _own(_in_blocks(_analysis, kind, x, rows))


@torch.library.custom_op("spectral::synthesis", mutates_args=())
def _synthesis_op(kind: str, z: Tensor, n: int) -> Tensor:
    return _own(_in_blocks(_synthesis, kind, z, n))


def _own(x: Tensor) -> Tensor:
    """x, which is not a view: autograd lets nobody change a view that an operator returns."""
    return x.clone() if x._is_view() else x


def _make_differentiable(transform: CustomOpDef, transpose: CustomOpDef) -> None:
    """A linear map over the last axis, whose gradient is its transpose: nothing but a size is kept for it."""

    def keep_size(ctx: Any, inputs: tuple[str, Tensor, int], output: Tensor) -> None:
        ctx.kind, ctx.size = inputs[0], inputs[1].shape[-1]

    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        return None, transpose(ctx.kind, gradient, ctx.size), None

    transform.register_fake(lambda kind, x, size: x.new_empty(*x.shape[:-1], size))
    transform.register_autograd(backward, setup_context=keep_size)


_make_differentiable(_analysis_op, _synthesis_op)
_make_differentiable(_synthesis_op, _analysis_op)


def _apply(op: CustomOpDef, transform: _Transform, kind: str, x: Tensor, size: int) -> Tensor:
    """By the operator where a compiler or autograd has to know of it; directly where not, which starts faster; by plain
    operations where `torch.func` differentiates or maps them."""
    if torch._C._are_functorch_transforms_active() and x.numel():
        return transform(kind, x, size)
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and x.requires_grad):
        return op(kind, x, size)  # type: ignore[no-any-return]
    return _in_blocks(transform, kind, x, size)


def _in_blocks(transform: _Transform, kind: str, x: Tensor, size: int) -> Tensor:
    """transform(kind, x, size), so many rows of x at a time that what lies between its passes stays in the cache.

    Larger temporaries would also be given back to the system after each pass, and taking new pages costs several times
    the transform."""
    if x.numel() == 0:  # FFTs refuse it
        return x.new_zeros(*x.shape[:-1], size)
    rows = x.reshape(-1, x.shape[-1])
    step = max(1, _BLOCK // max(x.shape[-1], size)) if x.device.type == "cpu" else len(rows)
    if len(rows) <= step:
        return transform(kind, x, size).contiguous()
    out = x.new_empty(*x.shape[:-1], size)
    for part, into in zip(rows.split(step), out.view(-1, size).split(step), strict=True):
        into.copy_(transform(kind, part, size))
    return out


def _analysis(kind: str, x: Tensor, rows: int) -> Tensor:
    n = x.shape[-1]
    if kind in ("haar", "hadamard"):
        size = _power_of_two(rows)
        means = x.unflatten(-1, (size, n // size)).sum(-1) * math.sqrt(size / n)
        return (haar(means) if kind == "haar" else walsh(means))[..., :rows]
    samples = x.to(_computed_in(x))
    tables = _tables(kind, n, rows, samples.dtype, x.device)
    if tables.order is not None:
        samples = samples.index_select(-1, tables.order)
    if tables.signs is not None:
        samples = samples * tables.signs
    spectrum = torch.fft.rfft(samples)[..., tables.first : tables.first + len(tables.turn)] * tables.turn
    if tables.parts is None:
        return spectrum.real.to(x.dtype)
    places, part_signs = tables.parts
    parts = torch.view_as_real(spectrum).flatten(-2)
    return (parts.index_select(-1, places) * part_signs).to(x.dtype)


def _synthesis(kind: str, z: Tensor, n: int) -> Tensor:
    rows = z.shape[-1]
    if kind in ("haar", "hadamard"):
        size = _power_of_two(rows)
        z = torch.nn.functional.pad(z, (0, size - rows))
        means = haar_inverse(z) if kind == "haar" else walsh_inverse(z)
        return (means * math.sqrt(size / n)).repeat_interleave(n // size, dim=-1)
    coefficients = z.to(_computed_in(z))
    tables = _tables(kind, n, rows, coefficients.dtype, z.device)
    if tables.parts is None:
        spectrum = coefficients * tables.turn_back
    else:
        parts = coefficients.new_zeros(*z.shape[:-1], 2 * len(tables.turn))
        places, part_signs = tables.parts
        parts = parts.index_add(-1, places, coefficients * part_signs)
        spectrum = torch.view_as_complex(parts.unflatten(-1, (-1, 2))) * tables.turn_back
    if tables.first:
        spectrum = torch.nn.functional.pad(spectrum, (tables.first, 0))
    samples = torch.fft.irfft(spectrum, n=n)
    if tables.signs is not None:
        samples = samples * tables.signs
    if tables.inverse_order is not None:
        samples = samples.index_select(-1, tables.inverse_order)
    return samples.to(z.dtype)


def _computed_in(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32  # FFTs know no half precision


def _require(kind: str, n: int, rows: int) -> None:
    if not has_fast(kind, n):
        raise ValueError(f"there is no fast transform of kind {kind!r} and length {n}: multiply by the basis")
    if not 1 <= rows <= n:
        raise ValueError(f"a basis of size n has 1 to n rows, got n={n}, rows={rows}")


def _power_of_two(rows: int) -> int:
    """The smallest power of two that is at least `rows`."""
    return 1 << (rows - 1).bit_length()


@dataclass(frozen=True)
class _Tables:
    """What the FFT-based transforms look up; made in double precision, all on one device."""

    order: Tensor | None  # int64 [n], of samples before the FFT; None: as they are
    inverse_order: Tensor | None
    signs: Tensor | None  # float [n], of samples in that order
    first: int  # lowest frequency that is used
    turn: Tensor  # complex [frequencies], times the spectrum from `first` on
    turn_back: Tensor  # complex [frequencies], times coefficients to make a spectrum
    # int64 [rows], where a coefficient lies among (re, im, re, im, ...), and its sign there; None: re of each
    parts: tuple[Tensor, Tensor] | None

    def to(self, dtype: torch.dtype, device: torch.device) -> _Tables:
        """These tables on `device`, for samples of a real `dtype`."""

        def moved(one: Tensor | None) -> Tensor | None:
            return None if one is None else one.to(device)

        def real(one: Tensor | None) -> Tensor | None:
            return None if one is None else one.to(device, dtype)

        parts = None if self.parts is None else (self.parts[0].to(device), self.parts[1].to(device, dtype))
        turn, back = self.turn.to(device, dtype.to_complex()), self.turn_back.to(device, dtype.to_complex())
        return _Tables(moved(self.order), moved(self.inverse_order), real(self.signs), self.first, turn, back, parts)


@lru_cache(maxsize=256)
def _tables(kind: str, n: int, rows: int, dtype: torch.dtype, device: torch.device) -> _Tables:
    make = _fourier_tables if kind == "dft" else _cosine_tables
    with torch.inference_mode(False), torch.no_grad():  # they outlive this call, and autograd may meet them
        return make(kind, n, rows).to(dtype, device)


def _cosine_tables(kind: str, n: int, rows: int) -> _Tables:
    """Coefficient j of the cosine transform is the real part of e^(-i pi j / 2n) V_j, and minus the imaginary part of
    that of n - j; row r of the sine transform is coefficient n - 1 - r of samples with alternating signs."""
    i, r = torch.arange(n), torch.arange(rows)
    order = torch.cat([i[::2], i[1::2].flip(0)])
    sine = kind == "dst"
    signs = (1 - 2 * (order % 2)).double() if sine else None
    j = n - 1 - r if sine else r
    high = 2 * j > n  # read from the other end, as an imaginary part
    frequency = torch.where(high, n - j, j)
    first, last = int(frequency.min()), int(frequency.max())
    k = torch.arange(first, last + 1)
    scale = torch.full((len(k),), math.sqrt(2 / n), dtype=torch.float64)
    scale[k == 0] = math.sqrt(1 / n)
    angle = math.pi * k.double() / (2 * n)
    turn = torch.polar(scale, -angle)
    back = torch.polar(torch.where(2 * k == n, 2, 1) / scale, angle)  # the middle is its own other end
    one_part = bool((high == sine).all()) and len(frequency) == len(k) and bool((frequency == k).all())
    if one_part and sine:
        turn, back = 1j * turn, -1j * back
    parts = None if one_part else (2 * (frequency - first) + high, (1 - 2 * high.int()).double())
    return _Tables(order, order.argsort(), signs, first, turn, back, parts)


def _fourier_tables(kind: str, n: int, rows: int) -> _Tables:
    """Row 2k - 1 is the real part of V_k, row 2k minus the imaginary one."""
    r = torch.arange(rows)
    frequency, sine = (r + 1) // 2, (r > 0) & (r % 2 == 0)
    k = torch.arange(int(frequency.max()) + 1)
    ends = (k == 0) | (2 * k == n)
    scale = torch.where(ends, 1 / n, torch.full((len(k),), 2 / n, dtype=torch.float64)).sqrt()
    back = scale * torch.where(ends, n, n / 2)
    parts = (2 * frequency + sine, (1 - 2 * sine.int()).double())
    return _Tables(None, None, None, 0, scale.to(torch.complex128), back.to(torch.complex128), parts)
