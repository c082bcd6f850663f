"""`spectral_linear` as an operation of torch."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from cuda_kernels.arguments import expect, same_device
from cuda_kernels.launch import launch
from cuda_kernels.spectral_linear.reference import BASES, cosines
from cuda_kernels.spectral_linear.reference import spectral_linear as reference

_TYPES = (torch.float32, torch.bfloat16, torch.float16)  # numbered as in kernel.cu
_SPLIT_ROWS = 1024  # the sum over kept_in is split in parts of at most so many rows together ...
_MOST_SPLITS = 16  # ... and in at most so many


def spectral_linear(
    x: Tensor,
    coefficients: Tensor,
    bias: Tensor | None,
    out_features: int,
    in_basis: str,
    out_basis: str,
    variant: str = "auto",
) -> Tensor:
    """C_out^T (S (C_in x)) + bias for each row: [batch, in], S [kept_out, kept_in], [out] or None -> [batch, out].

    C_in, C_out: the first kept rows of the orthonormal DCT-II ("dct") or DST-II ("dst") of that length. All tensors are
    float32, or bfloat16, or float16; sums and transforms are float32. On tensor cores (16-bit types, more than 16 rows)
    the transformed x is rounded to the type in between. On the CPU the reference answers. variant: one of those
    that `bench.py` of this folder lists.

    Raises:
        ValueError, TypeError: shapes, strides, devices, types or names are off.
    """
    expect(x, "x", (None, None), _TYPES)
    expect(coefficients, "coefficients", (None, None), (x.dtype,))
    if bias is not None:
        expect(bias, "bias", (out_features,), (x.dtype,))
    same_device(x=x, coefficients=coefficients, bias=bias)
    (kept_out, kept_in), in_features = coefficients.shape, x.shape[1]
    if kept_in > in_features or kept_out > out_features:
        raise ValueError(
            f"coefficients must be at most [out, in] = [{out_features}, {in_features}], got {[kept_out, kept_in]}"
        )
    for name, kind in (("in_basis", in_basis), ("out_basis", out_basis)):
        if kind not in BASES:
            raise ValueError(f"{name} must be {' or '.join(BASES)}, got {kind!r}")
    return _spectral_linear(x, coefficients, bias, out_features, in_basis, out_basis, variant)


@torch.library.custom_op("cuda_kernels::spectral_linear", mutates_args=(), device_types="cpu")
def _spectral_linear(
    x: Tensor,
    coefficients: Tensor,
    bias: Tensor | None,
    out_features: int,
    in_basis: str,
    out_basis: str,
    variant: str,
) -> Tensor:
    return reference(x, coefficients, bias, out_features, in_basis, out_basis)


@_spectral_linear.register_kernel("cuda")
def launched(
    x: Tensor,
    coefficients: Tensor,
    bias: Tensor | None,
    out_features: int,
    in_basis: str,
    out_basis: str,
    variant: str,
) -> Tensor:
    (batch, in_features), (kept_out, kept_in) = x.shape, coefficients.shape
    y = x.new_empty(batch, out_features)
    if not y.numel():
        return y
    splits = max(1, min(_MOST_SPLITS, _SPLIT_ROWS // batch))
    sizes = (-(-batch * kept_in // 4) * 4, -(-batch // 4) * 4, splits * batch * kept_out)
    workspace = torch.empty(sum(sizes), dtype=torch.float32, device=x.device)
    launch(
        f"spectral_linear_{variant}", x, coefficients, bias, y, _table(in_features, x.device),
        _table(out_features, x.device), workspace, batch, in_features, kept_in, out_features, kept_out,
        BASES.index(in_basis), BASES.index(out_basis), _TYPES.index(x.dtype), splits, device=x.device,
    )  # fmt: skip
    return y


@lru_cache(maxsize=64)
def _table(features: int, device: torch.device) -> Tensor:
    """float32 [4 features] on the device, where kernels look cosines up; made once a size."""
    return cosines(features).float().to(device)


@_spectral_linear.register_fake
def _(
    x: Tensor,
    coefficients: Tensor,
    bias: Tensor | None,
    out_features: int,
    in_basis: str,
    out_basis: str,
    variant: str,
) -> Tensor:
    return x.new_empty(x.shape[0], out_features)
