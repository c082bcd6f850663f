"""What `gemm_f32` is checked on and timed at."""

from __future__ import annotations

import torch

from cuda_kernels.gemm_f32.op import gemm_f32
from cuda_kernels.gemm_f32.reference import gemm_f32 as reference
from cuda_kernels.operation import Arguments, Check, Make, Operation, Variant, Vendor, Workload

_ROUNDING = 3e-6  # of a relative norm: fp32 sums of up to 1100 terms, one after the other


def _random(m: int, n: int, k: int, scale: float = 1.0) -> Make:
    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        a = torch.randn(m, k, generator=generator, device=generator.device).mul_(scale)
        return a.to(device), torch.randn(k, n, generator=generator, device=generator.device).to(device)

    return make


def _off_boundary(generator: torch.Generator, device: torch.device) -> Arguments:
    """Contiguous tensors that start 4 bytes past a 16-byte boundary."""
    matrices = _random(72, 136, 40)(generator, torch.device("cpu"))
    return tuple(torch.cat([one.new_zeros(1), one.flatten()]).to(device)[1:].view(one.shape) for one in matrices)


def _zeros(generator: torch.Generator, device: torch.device) -> Arguments:
    return torch.zeros(65, 33, device=device), torch.randn(33, 70, generator=generator).to(device)


_VENDOR = Vendor("cuBLAS (torch.mm)", lambda arguments: lambda: torch.mm(*arguments))
_FAST = ("registers", "small", "pipelined", "wide", "auto")


def _workload(
    m: int, n: int, k: int, goal: tuple[str, float] | None = None, variants: tuple[str, ...] | None = _FAST
) -> Workload:
    moved = 4.0 * (m * k + k * n + m * n)
    return Workload(f"{m} x {n} x {k}", _random(m, n, k), 2.0 * m * n * k, moved, "fp32", (_VENDOR,), goal, variants)


OPERATION = Operation(
    name="gemm_f32",
    summary="dense fp32 matrix product, by FMA",
    variants=(
        Variant("naive", "A thread an element of C, both operands from the caches at every step."),
        Variant("tiled", "Tiles of 32 x 32 in shared memory: each value fetched is used 32 times."),
        Variant("registers", "Tiles of 128 x 128, 8 x 8 a thread; the next piece waits in registers, 16 bytes a load."),
        Variant("small", "Tiles of 64 x 64, 4 x 8 a thread, two pieces of k ahead by asynchronous copies."),
        Variant("pipelined", "Tiles of 128 x 128, 8 x 8 a thread, two pieces of k ahead by asynchronous copies."),
        Variant("wide", "Tiles of 128 x 256, 8 x 16 a thread: fewer loads a FMA, fewer warps to hide them."),
        Variant("auto", "pipelined where its tiles fill the multiprocessors, else small."),
    ),
    run=gemm_f32,
    reference=reference,
    checks=(
        *(
            Check(f"{m} x {n} x {k}", _random(m, n, k), _ROUNDING)
            for m, n, k in (
                (1, 1, 1), (1, 130, 5), (130, 1, 16), (3, 5, 7), (33, 65, 17), (127, 129, 48), (129, 260, 31),
                (64, 64, 1100), (300, 132, 64), (1100, 40, 24), (128, 256, 16), (5, 3, 0), (0, 5, 3), (5, 0, 3),
            )
        ),
        Check("start off a 16-byte boundary", _off_boundary, _ROUNDING),
        Check("values of 1e18", _random(70, 68, 52, scale=1e18), _ROUNDING),
        Check("values of 1e-30", _random(70, 68, 52, scale=1e-30), _ROUNDING),
        Check("a matrix of zeros", _zeros, 0.0),
    ),
    workloads=(
        _workload(1024, 1024, 1024, variants=None),
        _workload(256, 4096, 4096),
        _workload(2048, 2048, 2048),
        _workload(4096, 4096, 4096, goal=("cuBLAS", 0.9)),
        _workload(8192, 8192, 8192),
        _workload(4097, 4095, 4093),
    ),
    registers={"naive": 40, "tiled": 64, "registers": 128, "pipelined": 128, "wide": 255},
)  # fmt: skip
