"""Checks of what kernels are given: a wrong argument is an error here, never a wrong number there."""

from __future__ import annotations

import torch
from torch import Tensor


def expect(tensor: Tensor, name: str, shape: tuple[int | None, ...], dtypes: tuple[torch.dtype, ...]) -> None:
    """Raises unless `tensor` is a contiguous one of that shape (None: any size) and one of those types.

    Raises:
        ValueError: the shape or the strides are off.
        TypeError: the type is off.
    """
    if tensor.dtype not in dtypes:
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must be {wanted}, got {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.dim() != len(shape) or any(n is not None and n != m for n, m in zip(shape, tensor.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape [{wanted}], got {list(tensor.shape)}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} must be contiguous, its strides are {tensor.stride()}: call .contiguous() first")


def same_device(**tensors: Tensor | None) -> torch.device:
    """The one device of all these.

    Raises:
        ValueError: they lie on several.
    """
    places = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(places.values())) > 1:
        raise ValueError(
            f"all tensors must be on one device, got {', '.join(f'{k} on {v}' for k, v in places.items())}"
        )
    return next(iter(places.values()))
