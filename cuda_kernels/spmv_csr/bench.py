"""What `spmv_csr` is checked on and timed at."""

from __future__ import annotations

import torch

from cuda_kernels.csr import to_csr
from cuda_kernels.operation import Arguments, Check, Make, Operation, Variant, Workload
from cuda_kernels.sparse_inputs import off_boundary, random_sparse, sparse_vendors
from cuda_kernels.spmv_csr.op import spmv_csr
from cuda_kernels.spmv_csr.reference import spmv_csr as reference

_ROUNDING = 1e-5  # of a relative norm: fp32 sums of up to 5000 terms, one after the other in the scalar variant


def _uneven(generator: torch.Generator, device: torch.device) -> Arguments:
    """One full row that many shares cut, between many empty rows and rows of one entry."""
    dense = torch.zeros(3000, 5000)
    dense[1700] = torch.randn(5000, generator=generator)
    dense[1800:2900, 7] = torch.randn(1100, generator=generator)
    return tuple(one.to(device) for one in (*to_csr(dense), torch.randn(5000, generator=generator)))


def _rows_of(entries: int, rows: int = 260) -> Make:
    """Every row has the same number of entries: shares of the merged list end where rows do."""

    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        dense = torch.zeros(rows, 64)
        dense[:, :entries] = torch.randn(rows, entries, generator=generator)
        return tuple(one.to(device) for one in (*to_csr(dense), torch.randn(64, generator=generator)))

    return make


_VENDORS = sparse_vendors(torch.mv)


def _square(n: int, zeros: float, goal: tuple[str, float] | None = None) -> Workload:
    entries = (1 - zeros) * n * n
    return Workload(
        name=f"{n} x {n}, {100 * zeros:.0f} % zeros",
        make=random_sparse(n, n, 1 - zeros),
        operations=2.0 * entries,
        bytes=8.0 * entries + 4.0 * (n + 1 + 2 * n),
        unit="fp32",
        vendors=_VENDORS,
        goal=goal,
        zeros=zeros,
    )


OPERATION = Operation(
    name="spmv_csr",
    summary="sparse fp32 matrix, by compressed rows, times vector",
    variants=(
        Variant("scalar", "A thread a row: neighbouring threads read entries a whole row apart."),
        Variant("warp", "A warp a row, so that its lanes read neighbouring entries."),
        Variant("vectorised", "A warp a row, 16 bytes a load, four loads in flight."),
        Variant("shared", "The same by blocks that stay and keep x in shared memory, where it fits."),
        Variant("balanced", "Merge path: every thread takes as much of rows and entries together as any other."),
        Variant("auto", "shared, or balanced where rows have fewer than 16 entries on average."),
    ),
    run=spmv_csr,
    reference=reference,
    checks=(
        *(
            Check(f"{rows} x {columns}, {kept:.0%} kept", random_sparse(rows, columns, kept), _ROUNDING)
            for rows, columns, kept in (
                (1, 1, 1.0), (1, 4096, 0.5), (3, 7, 0.5), (33, 65, 0.3), (127, 1028, 0.1), (1000, 201, 0.02),
                (64, 512, 1.0), (70, 1, 0.5), (5, 0, 1.0), (0, 5, 1.0),
            )
        ),
        Check("one full row between empty ones", _uneven, _ROUNDING),
        *(Check(f"rows of {entries}", _rows_of(entries), _ROUNDING) for entries in (1, 3, 7, 15, 31, 63)),
        Check("a matrix of zeros", random_sparse(2500, 30, 0.0), 0.0),
        Check("start off a 16-byte boundary", off_boundary(random_sparse(65, 128, 0.5)), _ROUNDING),
        Check("values of 1e18", random_sparse(64, 512, 0.2, scale=1e18), _ROUNDING),
    ),
    workloads=(
        _square(4096, 0.9),
        *(_square(16384, zeros) for zeros in (0.5, 0.8)),
        _square(16384, 0.9, goal=("cuSPARSE", 1.2)),
        *(_square(16384, zeros) for zeros in (0.95, 0.98)),
    ),
    registers={"scalar": 64, "warp": 64, "vectorised": 48, "shared": 64, "balanced": 80, "carry": 32},
)  # fmt: skip
