"""`spmm_24` as an operation of torch."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_kernels.arguments import expect, same_device
from cuda_kernels.launch import launch
from cuda_kernels.spmm_24.compression import COLUMNS, ROWS, TYPES
from cuda_kernels.spmm_24.reference import spmm_24 as reference


def spmm_24(x: Tensor, values: Tensor, places: Tensor, bias: Tensor | None = None, variant: str = "auto") -> Tensor:
    """x W^T + bias, W as `compress_24` gives it: [batch, in], [out, in / 2], places, [out] or None -> [batch, out].

    x, values and bias are bfloat16 or float16, sums are float32. The fast variants need `in` to be a multiple of 16 and
    else fall back to `naive`. On the CPU the reference answers. variant: one of those that `bench.py` of this folder
    lists.

    Raises:
        ValueError, TypeError: shapes, strides, devices or types are off.
    """
    expect(x, "x", (None, None), TYPES)
    if x.shape[1] % 4:
        raise ValueError(f"x must have shape [batch, in] with in a multiple of 4, got {list(x.shape)}")
    expect(values, "values", (None, x.shape[1] // 2), (x.dtype,))
    rows, columns = values.shape[0], x.shape[1]
    expect(places, "places", (-(-rows // ROWS), -(-columns // COLUMNS), 64), (torch.int32,))
    if bias is not None:
        expect(bias, "bias", (rows,), (x.dtype,))
    same_device(x=x, values=values, places=places, bias=bias)
    return _spmm_24(x, values, places, bias, variant)


@torch.library.custom_op("cuda_kernels::spmm_24", mutates_args=(), device_types="cpu")
def _spmm_24(x: Tensor, values: Tensor, places: Tensor, bias: Tensor | None, variant: str) -> Tensor:
    return reference(x, values, places, bias)


@_spmm_24.register_kernel("cuda")
def launched(x: Tensor, values: Tensor, places: Tensor, bias: Tensor | None, variant: str) -> Tensor:
    (batch, columns), rows = x.shape, values.shape[0]
    y = x.new_empty(batch, rows)
    if y.numel():
        launch(
            f"spmm_24_{variant}", x, values, places, bias, y, batch, columns, rows, TYPES.index(x.dtype),
            device=x.device,
        )  # fmt: skip
    return y


@_spmm_24.register_fake
def _(x: Tensor, values: Tensor, places: Tensor, bias: Tensor | None, variant: str) -> Tensor:
    return x.new_empty(x.shape[0], values.shape[0])
