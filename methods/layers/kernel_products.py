"""Layers in the form in which the GPU kernels of `cuda_kernels` compute them: made to be run, never stored.

On a processor the kernels' references answer, so that what is computed can be checked anywhere.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cuda_kernels import build, ops
from cuda_kernels.csr import check_csr, to_csr
from cuda_kernels.spectral_linear.reference import BASES
from methods.layers.spectral import SpectralLinear

DEPTH_MULTIPLE = 16  # of k, for the fast variants of gemm_i8
WORTH_SKIPPING = 0.8  # share of zeros from which a layer is multiplied as a sparse one; not measured on a GPU yet


def unavailable(device: str) -> str | None:
    """The reason why no kernels can be compiled for `device`, or None."""
    if not device.startswith("cuda"):
        return None
    try:
        build.compiler()
    except build.BuildFailure as error:
        return str(error)
    return None


def prepare() -> None:
    """Compiles the kernels, where there is a GPU and they are not there yet: minutes, once on a machine.

    Raises:
        RuntimeError: they cannot be compiled.
    """
    if torch.cuda.is_available():
        build.build()


def scaled_product(rows: Tensor, columns: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """int8 [m, k], int8 [n, k], float32 [n], float32 [n] -> float32 [m, n]: the sums times scale, plus offset."""
    return ops.gemm_i8(rows, columns, scale, offset)


def in_kernels(layer: nn.Module) -> nn.Module | None:
    """The layer as one that runs on the kernels, or None where they do not serve it: they take float32 linear layers
    and convolutions of enough zeros, without groups, and linear layers stored as all of a rectangle of DCT or DST
    coefficients."""
    if isinstance(layer, SpectralLinear):
        fits = layer.box.is_rectangle and layer.basis_kind in BASES
        return SpectralProduct(layer) if fits and layer.coefficients.dtype == torch.float32 else None
    if not isinstance(layer, nn.Linear | nn.Conv2d) or layer.weight.dtype != torch.float32:
        return None
    if isinstance(layer, nn.Conv2d) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        return None
    if isinstance(layer, nn.Conv2d) and isinstance(layer.padding, str):
        return None
    zeros = 1 - int(layer.weight.count_nonzero()) / max(layer.weight.numel(), 1)
    return SparseProduct(layer) if zeros >= WORTH_SKIPPING else None


class Windows:
    """How a convolution's windows are unrolled."""

    def __init__(self, layer: nn.Conv2d) -> None:
        assert not isinstance(layer.padding, str)
        self.kernel, self.stride, self.dilation = layer.kernel_size, layer.stride, layer.dilation
        self.padding = layer.padding

    def unrolled(self, x: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, in kh kw, oh ow]"""
        return F.unfold(x, self.kernel, self.dilation, self.padding, self.stride)

    def sizes(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(oh, ow) for [n, in, h, w]."""
        return self._size(shape[2], 0), self._size(shape[3], 1)

    def _size(self, size: int, axis: int) -> int:
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (size + 2 * self.padding[axis] - reach) // self.stride[axis] + 1


class SparseProduct(nn.Module):
    """A linear layer, [..., in] -> [..., out], or a convolution, [n, in, h, w] -> [n, out, oh, ow], that multiplies by
    the weights that are not zero alone; windows of a convolution are unrolled."""

    row_starts: Tensor
    columns: Tensor
    values: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        rows = layer.weight.detach().reshape(len(layer.weight), -1)  # [out, k]
        row_starts, columns, values = to_csr(rows)
        check_csr(row_starts, columns, values, rows.shape[1])
        self.register_buffer("row_starts", row_starts)
        self.register_buffer("columns", columns)
        self.register_buffer("values", values)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())
        self._windows = Windows(layer) if isinstance(layer, nn.Conv2d) else None

    def forward(self, x: Tensor) -> Tensor:
        if self._windows is None:
            product = self._multiplied(x.reshape(-1, x.shape[-1]).t())  # [out, rows]
            y = product.t().reshape(*x.shape[:-1], len(product))
            return y if self.bias is None else y + self.bias
        unrolled, sizes = self._windows.unrolled(x), self._windows.sizes(tuple(x.shape))
        n, depth, _ = unrolled.shape  # [n, k, oh ow]
        product = self._multiplied(unrolled.permute(1, 0, 2).reshape(depth, -1))
        y = product.reshape(len(product), n, *sizes).transpose(0, 1)
        return y if self.bias is None else y + self.bias[:, None, None]

    def _multiplied(self, right: Tensor) -> Tensor:
        """float32 [k, m] -> [out, m]"""
        if right.shape[1] == 1:
            return ops.spmv_csr(self.row_starts, self.columns, self.values, right[:, 0].contiguous())[:, None]
        return ops.spmm_csr(self.row_starts, self.columns, self.values, right.contiguous())


class SpectralProduct(nn.Module):
    """A spectral linear layer as one operation: transform, coefficients, inverse transform, bias."""

    coefficients: Tensor
    bias: Tensor | None

    def __init__(self, layer: SpectralLinear) -> None:
        super().__init__()
        self.register_buffer("coefficients", layer.coefficients.detach())  # [keep_out, keep_in]
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())
        self.out_features, self.basis_kind = layer.out_features, layer.basis_kind

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).contiguous()
        y = ops.spectral_linear(rows, self.coefficients, self.bias, self.out_features, self.basis_kind, self.basis_kind)
        return y.reshape(*x.shape[:-1], self.out_features)
