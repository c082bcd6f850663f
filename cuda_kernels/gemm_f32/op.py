"""`gemm_f32` as an operation of torch."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_kernels.arguments import expect, same_device
from cuda_kernels.gemm_f32.reference import gemm_f32 as reference
from cuda_kernels.launch import launch


def gemm_f32(a: Tensor, b: Tensor, variant: str = "auto") -> Tensor:
    """Matrix product: float32 [m, k], float32 [k, n] -> float32 [m, n], by FMA: no tensor cores, no TF32.

    On the CPU the reference answers. variant: one of those that `bench.py` of this folder lists.

    Raises:
        ValueError, TypeError: shapes, strides, devices or types are off.
    """
    expect(a, "a", (None, None), (torch.float32,))
    expect(b, "b", (a.shape[1], None), (torch.float32,))
    same_device(a=a, b=b)
    return _gemm_f32(a, b, variant)


@torch.library.custom_op("cuda_kernels::gemm_f32", mutates_args=(), device_types="cpu")
def _gemm_f32(a: Tensor, b: Tensor, variant: str) -> Tensor:
    return reference(a, b)


@_gemm_f32.register_kernel("cuda")
def launched(a: Tensor, b: Tensor, variant: str) -> Tensor:
    (m, k), n = a.shape, b.shape[1]
    c = a.new_empty(m, n)
    if c.numel():
        launch(f"gemm_f32_{variant}", a, b, c, m, n, k, device=a.device)
    return c


@_gemm_f32.register_fake
def _(a: Tensor, b: Tensor, variant: str) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])
