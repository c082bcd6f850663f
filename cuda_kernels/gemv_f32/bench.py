"""What `gemv_f32` is checked on and timed at."""

from __future__ import annotations

import torch

from cuda_kernels.gemv_f32.op import gemv_f32
from cuda_kernels.gemv_f32.reference import gemv_f32 as reference
from cuda_kernels.operation import Arguments, Check, Make, Operation, Variant, Vendor, Workload

_ROUNDING = 1e-5  # of a relative norm: fp32 sums of up to 4096 terms, one after the other in the naive variant


def _random(rows: int, columns: int, scale: float = 1.0) -> Make:
    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        a = torch.randn(rows, columns, generator=generator, device=generator.device).mul_(scale)
        return a.to(device), torch.randn(columns, generator=generator, device=generator.device).to(device)

    return make


def _offset(generator: torch.Generator, device: torch.device) -> Arguments:
    """Contiguous tensors that start 4 bytes past a 16-byte boundary."""
    a, x = _random(65, 128)(generator, torch.device("cpu"))
    return tuple(torch.cat([one.new_zeros(1), one.flatten()]).to(device)[1:].view(one.shape) for one in (a, x))


_VENDOR = Vendor("cuBLAS (torch.mv)", lambda arguments: lambda: torch.mv(*arguments))


def _square(n: int, goal: tuple[str, float] | None = None) -> Workload:
    return Workload(f"{n} x {n}", _random(n, n), 2.0 * n * n, 4.0 * (n * n + 2 * n), "fp32", (_VENDOR,), goal)


OPERATION = Operation(
    name="gemv_f32",
    summary="dense fp32 matrix times vector",
    variants=(
        Variant("naive", "A thread a row; neighbouring threads read addresses a whole row apart."),
        Variant("warp", "A warp a row, so that its lanes read neighbouring words."),
        Variant("vectorised", "A warp a row, 16 bytes a load, eight loads in flight."),
        Variant("two_rows", "A warp for two rows: each piece of x is read once for both."),
        Variant("four_rows", "A warp for four rows, eight loads in flight, x read once for all four."),
    ),
    run=gemv_f32,
    reference=reference,
    checks=(
        *(
            Check(f"{rows} x {columns}", _random(rows, columns), _ROUNDING)
            for rows, columns in ((1, 1), (1, 4096), (3, 7), (33, 65), (127, 1028), (1000, 1001), (5, 0), (0, 5))
        ),
        Check("start off a 16-byte boundary", _offset, _ROUNDING),
        Check("values of 1e18", _random(64, 512, scale=1e18), _ROUNDING),
    ),
    workloads=(_square(4096), _square(8192), _square(16384, goal=("copy bandwidth", 0.9))),
    registers={"naive": 40, "warp": 48, "vectorised": 128},
)
