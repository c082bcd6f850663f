"""`gemv_f32` as an operation of torch."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_kernels.arguments import expect, same_device
from cuda_kernels.gemv_f32.reference import gemv_f32 as reference
from cuda_kernels.launch import launch


def gemv_f32(a: Tensor, x: Tensor, variant: str = "vectorised") -> Tensor:
    """Matrix times vector: float32 [rows, columns], float32 [columns] -> float32 [rows].

    On the CPU the reference answers. variant: one of those that `bench.py` of this folder lists.

    Raises:
        ValueError, TypeError: shapes, strides, devices or types are off.
    """
    expect(a, "a", (None, None), (torch.float32,))
    expect(x, "x", (a.shape[1],), (torch.float32,))
    same_device(a=a, x=x)
    return _gemv_f32(a, x, variant)


@torch.library.custom_op("cuda_kernels::gemv_f32", mutates_args=(), device_types="cpu")
def _gemv_f32(a: Tensor, x: Tensor, variant: str) -> Tensor:
    return reference(a, x)


@_gemv_f32.register_kernel("cuda")
def launched(a: Tensor, x: Tensor, variant: str) -> Tensor:
    y = a.new_empty(a.shape[0])
    if a.shape[0]:
        launch(f"gemv_f32_{variant}", a, x, y, a.shape[0], a.shape[1], device=a.device)
    return y


@_gemv_f32.register_fake
def _(a: Tensor, x: Tensor, variant: str) -> Tensor:
    return a.new_empty(a.shape[0])
