"""What `spmm_24` is checked on and timed at."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.sparse import to_sparse_semi_structured

from cuda_kernels.operation import Arguments, Check, Make, Operation, Variant, Vendor, Workload
from cuda_kernels.spmm_24.compression import compress_24, expand_24
from cuda_kernels.spmm_24.op import spmm_24
from cuda_kernels.spmm_24.reference import spmm_24 as reference

_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}
_ROUNDING = {torch.bfloat16: 3e-3, torch.float16: 4e-4}  # of a relative norm: the result is rounded to the type


def kept_two(dense: Tensor) -> Tensor:
    """The two largest of every four neighbours of a row, [out, in] -> [out, in]; zeros elsewhere."""
    fours = dense.reshape(dense.shape[0], dense.shape[1] // 4, 4)
    kept = torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, fours.abs().topk(2, -1).indices, True)
    return (fours * kept).reshape(dense.shape)


def _layer(
    batch: int, columns: int, rows: int, dtype: torch.dtype, bias: bool = True, kept: float = 1.0, scale: float = 1.0
) -> Make:
    """columns, rows: in and out. kept: the share of the two of four that are not zero themselves. scale: of x."""

    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=generator.device)

        weight = kept_two(normal(rows, columns) / max(columns, 1) ** 0.5)
        weight *= torch.rand(rows, columns, generator=generator, device=generator.device) < kept
        values, places = compress_24(weight.to(dtype))
        added = (scale * normal(rows)).to(dtype).to(device) if bias else None
        return (scale * normal(batch, columns)).to(dtype).to(device), values.to(device), places.to(device), added

    return make


def _off_boundary(generator: torch.Generator, device: torch.device) -> Arguments:
    """Contiguous tensors that start two bytes past a 16-byte boundary."""
    x, values, places, bias = _layer(40, 64, 48, torch.float16)(generator, torch.device("cpu"))
    moved = (torch.cat([one.new_zeros(1), one.flatten()]).to(device)[1:].view(one.shape) for one in (x, values, bias))
    x, values, bias = moved
    return x, values, places.to(device), bias


def _dense(arguments: Arguments) -> Callable[[], Tensor]:
    x, values, places, bias = arguments
    weight = expand_24(values, places)
    return lambda: F.linear(x, weight, bias)


def _cusparselt(arguments: Arguments) -> Callable[[], Tensor]:
    x, values, places, bias = arguments
    weight = to_sparse_semi_structured(expand_24(values, places))
    return lambda: F.linear(x, weight, bias)


_VENDORS = (Vendor("cuBLAS dense (F.linear)", _dense), Vendor("cuSPARSELt (F.linear)", _cusparselt))


def _workload(batch: int, columns: int, rows: int, dtype: torch.dtype) -> Workload:
    return Workload(
        name=f"{rows} x {columns}, batch {batch}, {_NAMES[dtype]}",
        make=_layer(batch, columns, rows, dtype),
        operations=float(batch * columns * rows),
        bytes=1.125 * rows * columns + 2.0 * (batch * (columns + rows) + rows),
        unit="fp16",
        vendors=_VENDORS,
        variants=("tiles_64", "tiles_128", "auto"),
    )


OPERATION = Operation(
    name="spmm_24",
    summary="linear layer with two of every four weights kept, by sparse tensor cores",
    variants=(
        Variant("naive", "A thread an element: of every four columns it reads the two that are kept."),
        Variant(
            "tiles_64",
            "Sparse tensor cores, tiles of 128 outputs by 64 rows, copies two stages ahead (one on sm_86, sm_89).",
            (8, 0),
        ),
        Variant("tiles_128", "The same by 128 rows: fewer loads a product, one block each; tiles_64 there.", (8, 0)),
        Variant("auto", "tiles_128 where its tiles fill the multiprocessors, else tiles_64, else naive."),
    ),
    run=spmm_24,
    reference=reference,
    checks=(
        *(
            Check(f"{batch} x {columns} x {rows}, {name}", _layer(batch, columns, rows, dtype), _ROUNDING[dtype])
            for dtype, name in _NAMES.items()
            for batch, columns, rows in (
                (1, 4, 1), (3, 12, 5), (1, 16, 128), (65, 144, 130), (130, 272, 264), (7, 640, 17), (200, 48, 40),
                (0, 16, 8), (5, 16, 0), (5, 0, 8),
            )
        ),
        Check("no bias", _layer(33, 128, 72, torch.float16, bias=False), _ROUNDING[torch.float16]),
        Check("half of the kept are zero", _layer(33, 256, 72, torch.bfloat16, kept=0.5), _ROUNDING[torch.bfloat16]),
        Check("weights of zeros", _layer(33, 128, 72, torch.bfloat16, bias=False, kept=0.0), 0.0),
        Check("x of size 1000", _layer(9, 512, 40, torch.float16, scale=1e3), _ROUNDING[torch.float16]),
        Check("start off a 16-byte boundary", _off_boundary, _ROUNDING[torch.float16]),
    ),
    workloads=tuple(
        _workload(batch, columns, rows, dtype)
        for dtype in (torch.bfloat16,)
        for columns, rows in ((4096, 4096), (4096, 16384))
        for batch in (1, 16, 64, 256, 1024, 4096)
    ),
    registers={"naive": 64, "tiles": 168},
)  # fmt: skip
