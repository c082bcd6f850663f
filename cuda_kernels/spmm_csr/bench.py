"""What `spmm_csr` is checked on and timed at."""

from __future__ import annotations

import torch

from cuda_kernels.csr import to_csr, to_dense
from cuda_kernels.operation import Arguments, Check, Operation, Variant, Workload
from cuda_kernels.sparse_inputs import off_boundary, random_sparse, sparse_vendors
from cuda_kernels.spmm_csr.op import spmm_csr
from cuda_kernels.spmm_csr.reference import spmm_csr as reference

_ROUNDING = 3e-6  # of a relative norm: fp32 sums of up to 1100 terms, one after the other
_PRUNED = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


def _uneven(generator: torch.Generator, device: torch.device) -> Arguments:
    """Full rows among empty ones, and a column that all but those have."""
    dense = torch.zeros(290, 700)
    dense[[0, 131, 289]] = torch.randn(3, 700, generator=generator)
    dense[10:100, 699] = 1.0
    return tuple(one.to(device) for one in (*to_csr(dense), torch.randn(700, 72, generator=generator)))


def _infinite(generator: torch.Generator, device: torch.device) -> Arguments:
    """Infinities in rows of B that no entry needs, first rows of tiles among them: they must not be touched."""
    row_starts, columns, values, b = random_sparse(40, 600, 0.1, 36)(generator, torch.device("cpu"))
    dense = to_dense(row_starts, columns, values, 600)
    unused = [0, 128, 256, 300, 599]
    dense[:, unused] = 0.0
    b[unused] = torch.inf
    return tuple(one.to(device) for one in (*to_csr(dense), b))


_VENDORS = sparse_vendors(torch.mm)


def _workload(rows: int, columns: int, n: int, zeros: float, goal: tuple[str, float] | None = None) -> Workload:
    entries = (1 - zeros) * rows * columns
    return Workload(
        name=f"{rows} x {columns} x {n}, {100 * zeros:.0f} % zeros",
        make=random_sparse(rows, columns, 1 - zeros, n),
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
            Check(f"{rows} x {columns} x {n}, {kept:.0%} kept", random_sparse(rows, columns, kept, n), _ROUNDING)
            for rows, columns, n, kept in (
                (1, 1, 1, 1.0), (3, 7, 5, 0.5), (33, 65, 33, 0.3), (129, 300, 64, 0.1), (260, 513, 130, 0.05),
                (17, 1100, 68, 1.0), (150, 128, 256, 0.5), (70, 1, 9, 0.5), (5, 0, 3, 1.0), (0, 5, 3, 1.0),
                (5, 3, 0, 1.0),
            )
        ),
        Check("full rows among empty ones", _uneven, _ROUNDING),
        Check("infinities that no entry needs", _infinite, _ROUNDING),
        Check("a matrix of zeros", random_sparse(130, 300, 0.0, 66), 0.0),
        Check("start off a 16-byte boundary", off_boundary(random_sparse(140, 136, 0.3, 40)), _ROUNDING),
        Check("values of 1e18", random_sparse(64, 512, 0.2, 64, scale=1e18), _ROUNDING),
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
