"""A linear layer with two of every four weights kept, in plain torch with double accumulation."""

from __future__ import annotations

from torch import Tensor

from cuda_kernels.spmm_24.compression import expand_24


def spmm_24(x: Tensor, values: Tensor, places: Tensor, bias: Tensor | None) -> Tensor:
    """[batch, in], [out, in / 2], places of compress_24, [out] or None -> [batch, out], of the type of x."""
    y = x.double() @ expand_24(values, places).double().T
    return (y if bias is None else y + bias.double()).to(x.dtype)
