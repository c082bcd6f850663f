"""`gemm_i8` as an operation of torch."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_kernels.arguments import expect, same_device
from cuda_kernels.gemm_i8.reference import gemm_i8 as reference
from cuda_kernels.launch import launch

MOST_DEPTH = (2**31 - 1) // 128**2  # so many products of -128 and -128 fit an int32


def gemm_i8(
    a: Tensor,
    b: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    relu: bool = False,
    variant: str = "auto",
) -> Tensor:
    """a b^T by integers: int8 [m, k], int8 [n, k] -> int32 [m, n].

    With scale, float32 [n], the sums become float32: sum * scale + bias, bias float32 [n] or None. relu: values below
    zero become zero, of either type. The fast variants need k to be a multiple of 16 and else fall back to `dp4a`. On
    the CPU the reference answers. variant: one of those that `bench.py` of this folder lists.

    Raises:
        ValueError, TypeError: shapes, strides, devices or types are off, there is a bias without a scale, or k is so
            large that a sum may overflow int32.
    """
    expect(a, "a", (None, None), (torch.int8,))
    expect(b, "b", (None, a.shape[1]), (torch.int8,))
    for name, one in (("scale", scale), ("bias", bias)):
        if one is not None:
            expect(one, name, (b.shape[0],), (torch.float32,))
    if bias is not None and scale is None:
        raise ValueError("bias needs a scale: without one the result is int32, add to that")
    if a.shape[1] > MOST_DEPTH:
        raise ValueError(f"k must be at most {MOST_DEPTH}, got {a.shape[1]}: a longer sum may overflow int32, split it")
    same_device(a=a, b=b, scale=scale, bias=bias)
    return _gemm_i8(a, b, scale, bias, relu, variant)


@torch.library.custom_op("cuda_kernels::gemm_i8", mutates_args=(), device_types="cpu")
def _gemm_i8(a: Tensor, b: Tensor, scale: Tensor | None, bias: Tensor | None, relu: bool, variant: str) -> Tensor:
    return reference(a, b, scale, bias, relu)


@_gemm_i8.register_kernel("cuda")
def launched(a: Tensor, b: Tensor, scale: Tensor | None, bias: Tensor | None, relu: bool, variant: str) -> Tensor:
    (m, k), n = a.shape, b.shape[0]
    c = _empty(a, b, scale)
    if c.numel():
        launch(f"gemm_i8_{variant}", a, b, scale, bias, c, m, n, k, int(relu), device=a.device)
    return c


@_gemm_i8.register_fake
def _(a: Tensor, b: Tensor, scale: Tensor | None, bias: Tensor | None, relu: bool, variant: str) -> Tensor:
    return _empty(a, b, scale)


def _empty(a: Tensor, b: Tensor, scale: Tensor | None) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0], dtype=torch.int32 if scale is None else torch.float32)
