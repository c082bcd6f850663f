"""What `spectral_linear` is checked on and timed at."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from cuda_kernels.operation import Arguments, Check, Make, Operation, Variant, Vendor, Workload
from cuda_kernels.spectral_linear.op import spectral_linear
from cuda_kernels.spectral_linear.reference import basis
from cuda_kernels.spectral_linear.reference import spectral_linear as reference

_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
# Of a relative norm. fp32: sums of up to 8192 terms one after another in the plain variants. 16 bits: the result is
# rounded to the type, and on tensor cores the transformed x too, a value by 2^-8 or 2^-11 of itself at most, by a third
# of that in the norm; _FEW where a single frequency holds nearly all of it.
_ROUNDING = {torch.float32: 4e-6, torch.bfloat16: 3e-3, torch.float16: 4e-4}
_FEW = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def _layer(
    batch: int,
    in_axis: tuple[int, int],
    out_axis: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    kinds: tuple[str, str] = ("dct", "dct"),
    scale: float = 1.0,
    bias: bool = True,
    offset: float = 0.0,
) -> Make:
    """in_axis, out_axis: features and how many frequencies of them are kept. scale, offset: of x."""
    (in_features, kept_in), (out_features, kept_out) = in_axis, out_axis

    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=generator.device)

        x = scale * normal(batch, in_features) + offset
        coefficients = normal(kept_out, kept_in) / math.sqrt(max(kept_in, 1))
        added = scale * normal(out_features) if bias else None
        tensors = (None if one is None else one.to(device, dtype) for one in (x, coefficients, added))
        return (*tensors, out_features, *kinds)

    return make


def _off_boundary(generator: torch.Generator, device: torch.device, dtype: torch.dtype) -> Arguments:
    """Contiguous tensors that start one element past a 16-byte boundary."""
    *tensors, features, in_basis, out_basis = _layer(17, (256, 128), (512, 128), dtype)(generator, torch.device("cpu"))
    moved = (torch.cat([one.new_zeros(1), one.flatten()]).to(device)[1:].view(one.shape) for one in tensors)
    return (*moved, features, in_basis, out_basis)


def _constant(generator: torch.Generator, device: torch.device) -> Arguments:
    """fp16 rows near the largest fp16: their transform has one value, of 5.4e6, that fp16 cannot hold."""
    x, coefficients, _, *rest = _layer(40, (8192, 64), (256, 64), torch.float16)(generator, device)
    return (torch.full_like(x, 6e4), coefficients / 100, None, *rest)


_SIZES: tuple[tuple[str, int, tuple[int, int], tuple[int, int], tuple[str, str]], ...] = (
    # by FFT: all of the last passes, rows that fill a block in part, all and few frequencies kept
    ("32 and 64, all kept", 5, (32, 32), (64, 64), ("dct", "dst")),
    ("128 and 256, all but one", 33, (128, 127), (256, 255), ("dst", "dct")),
    ("512 and 1024", 66, (512, 136), (1024, 520), ("dct", "dct")),
    ("2048 and 4096, sines", 67, (2048, 1032), (4096, 8), ("dst", "dst")),
    ("8192 and 8192, one row", 1, (8192, 2048), (8192, 2048), ("dct", "dct")),
    ("8192 and 8192, all kept, sines", 3, (8192, 8192), (8192, 200), ("dst", "dst")),
    ("8192 and 8192, one kept", 2, (8192, 1), (8192, 1), ("dct", "dst")),
    ("8192 and 8192, tail of a tile", 130, (8192, 264), (8192, 1001), ("dst", "dct")),
    ("8192 and 8192, five rows", 5, (8192, 2056), (8192, 70), ("dct", "dst")),
    ("8192 and 8192, 21 rows", 21, (8192, 1000), (8192, 6000), ("dct", "dct")),
    # at least one axis by its basis
    ("1 and 1", 1, (1, 1), (1, 1), ("dct", "dst")),
    ("16 and 32", 7, (16, 8), (32, 8), ("dct", "dct")),
    ("odd and prime", 13, (97, 31), (211, 53), ("dst", "dct")),
    ("768 and 3072", 65, (768, 192), (3072, 768), ("dct", "dct")),
    ("16384 and 1024", 18, (16384, 64), (1024, 256), ("dct", "dst")),
    ("1024 and 1000", 70, (1024, 256), (1000, 250), ("dct", "dct")),
    ("no rows", 0, (64, 16), (64, 16), ("dct", "dct")),
    ("nothing kept", 3, (64, 0), (64, 0), ("dct", "dct")),
    ("nothing kept of the input", 3, (64, 0), (64, 16), ("dct", "dct")),
    ("no input", 3, (0, 0), (8192, 16), ("dct", "dct")),
    ("no output", 3, (64, 16), (0, 0), ("dct", "dct")),
)

_CHECKS = (
    *(
        Check(f"{name}, {_NAMES[dtype]}", _layer(batch, axis, other, dtype, kinds), _ROUNDING[dtype])
        for name, batch, axis, other, kinds in _SIZES
        for dtype in _NAMES
    ),
    *(
        Check(
            f"start off a 16-byte boundary, {_NAMES[dtype]}",
            partial(_off_boundary, dtype=dtype),
            _ROUNDING[dtype],
        )
        for dtype in _NAMES
    ),
    *(
        Check(f"x of size {scale:g}, {_NAMES[dtype]}", _layer(48, (8192, 512), (1024, 256), dtype, scale=scale),
              _ROUNDING[dtype])
        for dtype, scale in (
            (torch.float32, 1e15), (torch.float32, 1e-15), (torch.bfloat16, 1e15), (torch.float16, 300.0),
            (torch.float16, 3e-3),
        )
    ),
    *(
        Check(f"x around 100, {_NAMES[dtype]}", _layer(48, (8192, 512), (1024, 256), dtype, offset=100.0), few)
        for dtype, few in _FEW.items()
    ),
    Check("x of 60000 throughout, fp16", _constant, _FEW[torch.float16]),
    Check("no bias", _layer(9, (8192, 256), (8192, 256), bias=False), _ROUNDING[torch.float32]),
)  # fmt: skip


def _dense(arguments: Arguments) -> Callable[[], Tensor]:
    x, coefficients, bias, out_features, in_basis, out_basis = arguments
    in_rows = basis(in_basis, x.shape[1], coefficients.shape[1], x.device)
    out_rows = basis(out_basis, out_features, coefficients.shape[0], x.device)
    weight = (out_rows.T @ coefficients.double() @ in_rows).to(x.dtype)
    return lambda: F.linear(x, weight, bias)


def _factored(arguments: Arguments) -> Callable[[], Tensor]:
    x, coefficients, bias, out_features, in_basis, out_basis = arguments
    in_columns = basis(in_basis, x.shape[1], coefficients.shape[1], x.device).T.to(x.dtype).contiguous()
    out_rows = basis(out_basis, out_features, coefficients.shape[0], x.device).to(x.dtype)
    if bias is None:
        return lambda: torch.mm(torch.mm(torch.mm(x, in_columns), coefficients.T), out_rows)
    return lambda: torch.addmm(bias, torch.mm(torch.mm(x, in_columns), coefficients.T), out_rows)


_VENDORS = (Vendor("cuBLAS dense (F.linear)", _dense), Vendor("cuBLAS factored (three torch.mm)", _factored))
_BY_FFT = ("rows", "tiles_32", "tiles_64", "tiles_128", "fast", "overlapped", "fused", "fused_repeat", "auto")


def _workload(batch: int, dtype: torch.dtype, features: int = 8192, kept: int = 2048) -> Workload:
    transforms = 2 * batch * 2.5 * features * math.log2(features)
    return Workload(
        name=f"{features} x {features}, {kept} x {kept} kept, batch {batch}, {_NAMES[dtype]}",
        make=_layer(batch, (features, kept), (features, kept), dtype),
        operations=2.0 * batch * kept * kept + transforms,
        bytes=float(dtype.itemsize * (kept * kept + 2 * batch * features + features)),
        unit="fp32" if dtype == torch.float32 else "fp16",
        vendors=_VENDORS,
        goal=("cuBLAS dense (F.linear)", 1.0),
        variants=(*_BY_FFT, "matrix") if batch == 64 else _BY_FFT,
    )


OPERATION = Operation(
    name="spectral_linear",
    summary="linear layer stored as the low cosine or sine frequencies of its weight",
    variants=(
        Variant("naive", "Three products, a thread an element; every basis entry is looked up where it is used."),
        Variant("matrix", "Three products in tiles of 64 x 64, each basis entry looked up once a tile."),
        Variant("rows", "Transforms by FFT; S passes once for every eight rows, split over the warps of a block."),
        Variant("tiles_32", "Transforms by FFT; product in tiles of 32 x 64, FMA or tensor cores, its sums split."),
        Variant("tiles_64", "The same in tiles of 64 x 64."),
        Variant("tiles_128", "The same in tiles of 128 x 64 (64 x 64 before compute capability 8.0)."),
        Variant("fast", "Transforms by FFT, the product by the size of the batch, three launches in a row."),
        Variant("overlapped", "The same, and each kernel starts before the last one ends (compute capability 9.0 on)."),
        Variant("fused", "One cooperative launch with two barriers (8192 x 8192, up to 64 rows; else overlapped)."),
        Variant("fused_repeat", "One barrier: every block transforms x for itself (one row that fits; else fused)."),
        Variant("auto", "What works everywhere: overlapped, which falls back step by step."),
    ),
    run=spectral_linear,
    reference=reference,
    checks=_CHECKS,
    workloads=tuple(_workload(batch, dtype) for dtype in (torch.float32, torch.bfloat16) for batch in _BATCHES),
    registers={"analysis": 85, "synthesis": 128, "rows": 128, "tiles": 255, "fused": 128, "naive": 64, "matrix": 64},
)
