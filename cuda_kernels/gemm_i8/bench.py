"""What `gemm_i8` is checked on and timed at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cuda_kernels.gemm_i8.op import gemm_i8
from cuda_kernels.gemm_i8.reference import gemm_i8 as reference
from cuda_kernels.operation import Arguments, Check, Make, Operation, Variant, Vendor, Workload

_ROUNDING = 3e-7  # of a relative norm: the sum to fp32, its product and the bias, each rounded once
_EXACT = 0.0


def _random(m: int, n: int, k: int, scaled: bool = False, bias: bool = True, relu: bool = False) -> Make:
    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        def codes(*shape: int) -> Tensor:
            return torch.randint(-128, 128, shape, generator=generator, device=generator.device, dtype=torch.int8)

        a, b = codes(m, k).to(device), codes(n, k).to(device)
        if not scaled:
            return a, b, None, None, relu
        scale = torch.rand(n, generator=generator, device=generator.device).add_(0.5).mul_(1e-4)
        added = torch.randn(n, generator=generator, device=generator.device) if bias else None
        return a, b, scale.to(device), None if added is None else added.to(device), relu

    return make


def _extreme(left: int, right: int, k: int) -> Make:
    """All values the same: the largest sums that there are."""

    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        a = torch.full((130, k), left, dtype=torch.int8, device=device)
        return a, torch.full((40, k), right, dtype=torch.int8, device=device), None, None, False

    return make


def _off_boundary(generator: torch.Generator, device: torch.device) -> Arguments:
    """Contiguous tensors that start one byte past a 16-byte boundary, of rows that are whole pieces."""
    a, b, *rest = _random(70, 66, 64)(generator, torch.device("cpu"))
    moved = (torch.cat([one.new_zeros(1), one.flatten()]).to(device)[1:].view(one.shape) for one in (a, b))
    return (*moved, *rest)


def _int_mm(arguments: Arguments) -> Callable[[], Tensor]:
    a, b, scale, _, relu = arguments
    if scale is not None or relu:
        raise NotImplementedError("it only sums")
    transposed = b.T
    return lambda: torch._int_mm(a, transposed)


def _scaled_int_mm(arguments: Arguments) -> Callable[[], Tensor]:
    a, b, scale, bias, relu = arguments
    if scale is None or bias is None:
        raise NotImplementedError("for scaled products")
    transposed = b.T

    def call() -> Tensor:
        product = torch.addcmul(bias, torch._int_mm(a, transposed), scale)
        return product.relu_() if relu else product

    return call


def _half(arguments: Arguments) -> Callable[[], Tensor]:
    a, b = (one.half() for one in arguments[:2])
    transposed = b.T
    return lambda: torch.mm(a, transposed)


_VENDORS = (
    Vendor("cuBLASLt (torch._int_mm)", _int_mm),
    Vendor("cuBLASLt, then scale, bias, ReLU", _scaled_int_mm),
    Vendor("cuBLAS fp16 (torch.mm)", _half),
)
_FAST = ("mma", "wgmma", "auto")


def _workload(
    m: int,
    n: int,
    k: int,
    scaled: bool = False,
    goal: tuple[str, float] | None = None,
    variants: tuple[str, ...] | None = _FAST,
) -> Workload:
    return Workload(
        name=f"{m} x {n} x {k}{', scale, bias, ReLU' if scaled else ''}",
        make=_random(m, n, k, scaled, relu=scaled),
        operations=2.0 * m * n * k,
        bytes=float(m * k + n * k + 4 * m * n + (8 * n if scaled else 0)),
        unit="int8",
        vendors=_VENDORS,
        goal=goal,
        variants=variants,
    )


OPERATION = Operation(
    name="gemm_i8",
    summary="int8 matrix product into int32, with fused scale, bias and ReLU",
    variants=(
        Variant("naive", "A thread an element, a byte a load."),
        Variant("dp4a", "Tiles of 64 x 64 in shared memory, four products an instruction; any k."),
        Variant("mma", "Tensor cores by warps, tiles of 128 x 128, copies two stages ahead.", (8, 0)),
        Variant("wgmma", "Tensor cores by warpgroups, tiles of 128 x 256 that hardware copies.", (9, 0), True),
        Variant("auto", "The last of these that the GPU and the shape allow; mma where wgmma's tiles are few."),
    ),
    run=gemm_i8,
    reference=reference,
    checks=(
        *(
            Check(f"{m} x {n} x {k}", _random(m, n, k), _EXACT)
            for m, n, k in (
                (1, 1, 1), (1, 70, 16), (3, 5, 7), (65, 33, 50), (130, 258, 144), (390, 300, 656), (257, 66, 1040),
                (5, 3, 0), (0, 5, 16), (5, 0, 16),
            )
        ),
        *(
            Check(f"{m} x {n} x {k}, scale, bias, ReLU", _random(m, n, k, True, relu=True), _ROUNDING)
            for m, n, k in ((1, 1, 1), (67, 131, 48), (140, 300, 96))
        ),
        Check("scale without bias", _random(33, 36, 80, True, bias=False), _ROUNDING),
        Check("ReLU of integers", _random(33, 36, 80, relu=True), _EXACT),
        Check("scale, k of 0", _random(9, 10, 0, True), _ROUNDING),
        *(
            Check(f"{left} times {right}", _extreme(left, right, k), _EXACT)
            for left, right, k in ((-128, -128, 4096), (-128, 127, 592), (127, 127, 33))
        ),
        Check("start off a 16-byte boundary", _off_boundary, _EXACT),
    ),
    workloads=(
        _workload(1024, 1024, 1024, variants=None),
        _workload(64, 4096, 4096),
        _workload(4096, 4096, 4096),
        _workload(4096, 4096, 4096, scaled=True),
        _workload(8192, 8192, 8192, goal=("cuBLASLt", 0.85)),
        _workload(8192, 8192, 8192, scaled=True),
    ),
    registers={"naive": 40, "dp4a": 64, "_mma": 128, "wgmma": 168},
)  # fmt: skip
