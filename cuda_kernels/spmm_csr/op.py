"""`spmm_csr` as an operation of torch."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_kernels.arguments import expect, same_device
from cuda_kernels.csr import expect_csr
from cuda_kernels.launch import launch
from cuda_kernels.spmm_csr.reference import spmm_csr as reference


def spmm_csr(row_starts: Tensor, columns: Tensor, values: Tensor, b: Tensor, variant: str = "auto") -> Tensor:
    """Sparse times dense: int32 [rows + 1], int32 [entries], float32 [entries], float32 [columns, n] -> [rows, n].

    Columns must ascend within each row. What row_starts and columns hold is not checked here:
    `cuda_kernels.csr.check_csr` does it once, where a matrix is made. On the CPU the reference answers. variant: one of
    those that `bench.py` of this folder lists.

    Raises:
        ValueError, TypeError: shapes, strides, devices or types are off.
    """
    expect_csr(row_starts, columns, values)
    expect(b, "b", (None, None), (torch.float32,))
    same_device(values=values, b=b)
    return _spmm_csr(row_starts, columns, values, b, variant)


@torch.library.custom_op("cuda_kernels::spmm_csr", mutates_args=(), device_types="cpu")
def _spmm_csr(row_starts: Tensor, columns: Tensor, values: Tensor, b: Tensor, variant: str) -> Tensor:
    return reference(row_starts, columns, values, b)


@_spmm_csr.register_kernel("cuda")
def launched(row_starts: Tensor, columns: Tensor, values: Tensor, b: Tensor, variant: str) -> Tensor:
    rows, n = len(row_starts) - 1, b.shape[1]
    c = b.new_empty(rows, n)
    if c.numel():
        launch(
            f"spmm_csr_{variant}", row_starts, columns, values, b, c, rows, b.shape[0], n, len(values), device=b.device
        )
    return c


@_spmm_csr.register_fake
def _(row_starts: Tensor, columns: Tensor, values: Tensor, b: Tensor, variant: str) -> Tensor:
    return b.new_empty(row_starts.shape[0] - 1, b.shape[1])
