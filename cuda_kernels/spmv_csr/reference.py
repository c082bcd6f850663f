"""Sparse matrix times vector in plain torch, accumulated in double."""

from __future__ import annotations

from torch import Tensor

from cuda_kernels.csr import product


def spmv_csr(row_starts: Tensor, columns: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """int32 [rows + 1], int32 [entries], float32 [entries], float32 [columns] -> float32 [rows]."""
    return product(row_starts, columns, values.double(), x.double()[:, None])[:, 0].float()
