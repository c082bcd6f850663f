"""What `spmm_csr` is checked on and timed at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cuda_kernels.csr import to_csr, to_dense
from cuda_kernels.operation import Arguments, Check, Make, Operation, Variant, Vendor, Workload
from cuda_kernels.spmm_csr.op import spmm_csr
from cuda_kernels.spmm_csr.reference import spmm_csr as reference

_ROUNDING = 3e-6  # of a relative norm: fp32 sums of up to 1100 terms, one after the other
_PRUNED = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


def _random(rows: int, columns: int, n: int, kept: float, scale: float = 1.0) -> Make:
    """kept: the probability that an entry is not zero."""

    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        dense = torch.randn(rows, columns, generator=generator, device=generator.device)
        dense *= scale * (torch.rand(rows, columns, generator=generator, device=generator.device) < kept)
        b = torch.randn(columns, n, generator=generator, device=generator.device)
        return tuple(one.to(device) for one in (*to_csr(dense), b))

    return make


def _uneven(generator: torch.Generator, device: torch.device) -> Arguments:
    """Full rows among empty ones, and a column that all but those have."""
    dense = torch.zeros(290, 700)
    dense[[0, 131, 289]] = torch.randn(3, 700, generator=generator)
    dense[10:100, 699] = 1.0
    return tuple(one.to(device) for one in (*to_csr(dense), torch.randn(700, 72, generator=generator)))


def _infinite(generator: torch.Generator, device: torch.device) -> Arguments:
    """Infinities in rows of B that no entry needs, first rows of tiles among them: they must not be touched."""
    row_starts, columns, values, b = _random(40, 600, 36, 0.1)(generator, torch.device("cpu"))
    dense = to_dense(row_starts, columns, values, 600)
    unused = [0, 128, 256, 300, 599]
    dense[:, unused] = 0.0
    b[unused] = torch.inf
    return tuple(one.to(device) for one in (*to_csr(dense), b))


def _off_boundary(generator: torch.Generator, device: torch.device) -> Arguments:
    """Contiguous tensors that start 4 bytes past a 16-byte boundary."""
    matrices = _random(140, 136, 40, 0.3)(generator, torch.device("cpu"))
    return tuple(torch.cat([one.new_zeros(1), one.flatten()]).to(device)[1:].view(one.shape) for one in matrices)


def _cusparse(arguments: Arguments) -> Callable[[], Tensor]:
    row_starts, columns, values, b = arguments
    a = torch.sparse_csr_tensor(row_starts, columns, values, (len(row_starts) - 1, len(b)))
    return lambda: torch.mm(a, b)


def _dense(arguments: Arguments) -> Callable[[], Tensor]:
    row_starts, columns, values, b = arguments
    a = to_dense(row_starts, columns, values, len(b))
    return lambda: torch.mm(a, b)


_VENDORS = (Vendor("cuSPARSE (torch.mm)", _cusparse), Vendor("cuBLAS dense (torch.mm)", _dense))


def _workload(rows: int, columns: int, n: int, zeros: float, goal: tuple[str, float] | None = None) -> Workload:
    entries = (1 - zeros) * rows * columns
    return Workload(
        name=f"{rows} x {columns} x {n}, {100 * zeros:.0f} % zeros",
        make=_random(rows, columns, n, 1 - zeros),
        operations=2.0 * entries * n,
        bytes=8.0 * entries + 4.0 * (rows + 1 + columns * n + rows * n),
        unit="fp32",
        vendors=_VENDORS,
        goal=goal,
        zeros=zeros,
    )


OPERATION = Operation(
    name="spmm_csr",
    summary="sparse fp32 matrix, by compressed rows, times dense matrix",
    variants=(
        Variant("element", "A thread an element of C; neighbours read the same entries."),
        Variant("row_split", "A warp 128 columns of a row: each entry is read once for them, B from the caches."),
        Variant("tiles_128", "Tiles of 128 x 64 of B in shared memory for 128 rows, the next on its way.", (8, 0)),
        Variant("tiles_256", "The same with tiles of 256 x 64: fewer, longer passes over each row.", (8, 0)),
        Variant("auto", "tiles_128 where a row has two entries a tile or more, row_split, or element for few columns."),
    ),
    run=spmm_csr,
    reference=reference,
    checks=(
        *(
            Check(f"{rows} x {columns} x {n}, {kept:.0%} kept", _random(rows, columns, n, kept), _ROUNDING)
            for rows, columns, n, kept in (
                (1, 1, 1, 1.0), (3, 7, 5, 0.5), (33, 65, 33, 0.3), (129, 300, 64, 0.1), (260, 513, 130, 0.05),
                (17, 1100, 68, 1.0), (150, 128, 256, 0.5), (70, 1, 9, 0.5), (5, 0, 3, 1.0), (0, 5, 3, 1.0),
                (5, 3, 0, 1.0),
            )
        ),
        Check("full rows among empty ones", _uneven, _ROUNDING),
        Check("infinities that no entry needs", _infinite, _ROUNDING),
        Check("a matrix of zeros", _random(130, 300, 66, 0.0), 0.0),
        Check("start off a 16-byte boundary", _off_boundary, _ROUNDING),
        Check("values of 1e18", _random(64, 512, 64, 0.2, scale=1e18), _ROUNDING),
    ),
    workloads=(
        *(
            _workload(4096, 4096, 256, zeros, goal=("cuSPARSE", 2.0) if zeros in (0.9, 0.95) else None)
            for zeros in _PRUNED
        ),
        _workload(1000, 4096, 256, 0.9),
        _workload(4096, 4096, 32, 0.9),
        _workload(4096, 1024, 4096, 0.9),
    ),
    registers={"element": 64, "row_split": 64, "tiles": 64},
)  # fmt: skip
