"""int8 matrix product in plain torch. In double sums of int8 products are exact."""

from __future__ import annotations

import torch
from torch import Tensor


def gemm_i8(a: Tensor, b: Tensor, scale: Tensor | None, bias: Tensor | None, relu: bool) -> Tensor:
    """int8 [m, k], int8 [n, k], float32 [n] or None twice -> int32 [m, n], or float32 with a scale."""
    sums = a.double() @ b.double().T
    if scale is not None:
        sums = sums * scale.double() + (0.0 if bias is None else bias.double())
    return (sums.relu() if relu else sums).to(torch.int32 if scale is None else torch.float32)
