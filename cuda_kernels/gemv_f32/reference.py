"""Matrix times vector in plain torch, accumulated in double."""

from __future__ import annotations

from torch import Tensor


def gemv_f32(a: Tensor, x: Tensor) -> Tensor:
    """float32 [rows, columns], float32 [columns] -> float32 [rows]."""
    return (a.double() @ x.double()).float()
