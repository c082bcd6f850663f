"""`spmv_csr` as an operation of torch."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_kernels.arguments import expect, same_device
from cuda_kernels.csr import expect_csr
from cuda_kernels.launch import launch
from cuda_kernels.spmv_csr.reference import spmv_csr as reference

_SHARE = 2048  # rows and entries together that a block of the balanced variant takes, as in kernel.cu


def spmv_csr(row_starts: Tensor, columns: Tensor, values: Tensor, x: Tensor, variant: str = "auto") -> Tensor:
    """Sparse matrix times vector: int32 [rows + 1], int32 [entries], float32 [entries], float32 [columns] -> [rows].

    What row_starts and columns hold is not checked here: `cuda_kernels.csr.check_csr` does it once, where a matrix is
    made. On the CPU the reference answers. variant: one of those that `bench.py` of this folder lists.

    Raises:
        ValueError, TypeError: shapes, strides, devices or types are off.
    """
    expect_csr(row_starts, columns, values)
    expect(x, "x", (None,), (torch.float32,))
    same_device(values=values, x=x)
    return _spmv_csr(row_starts, columns, values, x, variant)


@torch.library.custom_op("cuda_kernels::spmv_csr", mutates_args=(), device_types="cpu")
def _spmv_csr(row_starts: Tensor, columns: Tensor, values: Tensor, x: Tensor, variant: str) -> Tensor:
    return reference(row_starts, columns, values, x)


@_spmv_csr.register_kernel("cuda")
def launched(row_starts: Tensor, columns: Tensor, values: Tensor, x: Tensor, variant: str) -> Tensor:
    rows, entries = len(row_starts) - 1, len(values)
    y = x.new_empty(rows)
    if rows:
        shares = -(-(rows + entries) // _SHARE)
        carried_rows = torch.empty(shares, dtype=torch.int32, device=x.device)
        carried_sums = torch.empty(shares, dtype=torch.float32, device=x.device)
        launch(
            f"spmv_csr_{variant}", row_starts, columns, values, x, y, carried_rows, carried_sums, rows, len(x), entries,
            device=x.device,
        )  # fmt: skip
    return y


@_spmv_csr.register_fake
def _(row_starts: Tensor, columns: Tensor, values: Tensor, x: Tensor, variant: str) -> Tensor:
    return x.new_empty(row_starts.shape[0] - 1)
