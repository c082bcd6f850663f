"""Sparse times dense matrix in plain torch, accumulated in double."""

from __future__ import annotations

from torch import Tensor

from cuda_kernels.csr import product


def spmm_csr(row_starts: Tensor, columns: Tensor, values: Tensor, b: Tensor) -> Tensor:
    """int32 [rows + 1], int32 [entries], float32 [entries], float32 [columns, n] -> float32 [rows, n]."""
    return product(row_starts, columns, values.double(), b.double()).float()
