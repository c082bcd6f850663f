"""Matrix product in plain torch, accumulated in double."""

from __future__ import annotations

from torch import Tensor


def gemm_f32(a: Tensor, b: Tensor) -> Tensor:
    """float32 [m, k], float32 [k, n] -> float32 [m, n]."""
    return (a.double() @ b.double()).float()
