"""What is left of a network's arithmetic and weights without zeros, and how wide weights are: what a runtime that skips
zeros and computes with stored codes could gain."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from methods.layers import SpectralConv2d, SpectralLinear


def nonzero_share(weight: Tensor) -> float:
    """Entries other than zero, as a fraction; 1 of an empty tensor."""
    return int(torch.count_nonzero(weight.detach())) / weight.numel() if weight.numel() else 1.0


def nonzero_products(layer: nn.Module, macs: int, x: Tensor, out: Any) -> int:
    """Of `macs` that a layer takes from x to out, those by a weight that is not zero.

    Each entry of a weight is used equally often, so a share of entries is a share of products. Of a spectral layer it
    is the matrix multiplied by on its path: the coefficients between two transforms, which are paid in full, or the
    weight made of all three, in which coefficients that are zero leave none. Attention is paid in full.
    """
    if isinstance(layer, SpectralLinear | SpectralConv2d):
        if layer.path(tuple(x.shape)) == "materialised":
            return round(macs * nonzero_share(layer.weight()))
        between = layer.spectrum() if isinstance(layer, SpectralLinear) else layer.kernel()
        outputs = layer.out_features if isinstance(layer, SpectralLinear) else layer.out_channels
        inside = out.numel() // outputs * between.numel()  # at each position once
        return macs - inside + round(inside * nonzero_share(between))
    if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
        return round(macs * nonzero_share(layer.weight))
    return macs


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the stored weights, tensors of two axes or more, as dense codes, zeros included: each one's values times
    its width in bits.

    A float is as wide as its type, integer codes are as wide as their range needs: codes in [-7, 7] have 4 bits, also
    where a file or a processor keeps them in bytes. Biases, scales, indices and whatever else a format adds are left
    out: what the weights alone would let a runtime save.
    """
    return math.ceil(sum(one.numel() * _bits(one.detach()) for one in model.parameters() if one.ndim > 1) / 8)


def _bits(tensor: Tensor) -> int:
    if tensor.is_floating_point() or tensor.is_complex() or not tensor.numel():
        return 8 * tensor.element_size()
    codes = tensor.to(torch.int64)
    if tensor.dtype == torch.uint8:
        return max(1, int(codes.max() - codes.min()).bit_length())
    return 1 + max(1, int(codes.abs().max()).bit_length())
