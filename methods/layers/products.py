"""Matrix products and 1 x 1 convolutions of spectral layers, by the faster of the two libraries that torch holds.

`torch.nn.functional.linear` calls MKL, which leaves the AVX-512 units of some processors idle; oneDNN, which runs
torch's convolutions, does not. torch's compiler calls oneDNN's product by an operation that any code may call. It has
no gradient, so it is taken where none is asked for: on a CPU, in float32, and where the product is long enough to pay.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MACS = 1 << 20  # below, starting oneDNN costs more than it saves
_ROWS = 8  # below, a product is bound by reading the matrix, which MKL does as fast
_PIXELS = 1 << 18  # numbers in an image batch, above which its 1 x 1 convolution is as fast by itself


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in] @ weight [out, in].T + bias [out] -> [..., out]."""
    if _onednn_takes(x, weight, bias):  # first: the size of a batch is not to be asked for while a graph is taken
        rows = x.numel() // x.shape[-1] if x.shape[-1] else 0
        if in_onednn(rows, weight.numel()):
            return _product(x, weight, bias)
    return F.linear(x, weight, bias)


def in_onednn(rows: int, entries: int) -> bool:
    """Whether `linear` of so many rows by a matrix of so many entries is oneDNN's product, where that may be taken."""
    return rows >= _ROWS and rows * entries >= _MACS


def pointwise(x: Tensor, matrix: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """A channel transform by `matrix` [b, a] in each group: x [n, g * a, h, w] -> [n, g * b, h, w], n optional."""
    if groups == 1 and x.dim() == 4 and _onednn_takes(x, matrix, bias):
        count, channels, height, width = x.shape
        macs = height * width * matrix.numel()  # an image
        if x.is_contiguous(memory_format=torch.channels_last):
            if x.numel() < _PIXELS and count * macs >= _MACS:
                y = _product(x.permute(0, 2, 3, 1).reshape(-1, channels), matrix, bias)
                return y.view(count, height, width, -1).permute(0, 3, 1, 2)
        elif macs >= _MACS:
            return _image_by_image(x.contiguous(), matrix.contiguous(), bias)
    matrix = matrix if groups == 1 else matrix.repeat(groups, 1)
    return F.conv2d(x, matrix[:, :, None, None], bias, groups=groups)


def _image_by_image(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """`pointwise` with channels first: no copy of all images in another layout, which a convolution would make."""
    count, channels, height, width = x.shape
    out = x.new_empty(count, len(matrix), height, width)
    for image, into in zip(x.view(count, channels, -1), out.view(count, len(matrix), -1), strict=True):
        y = _product(matrix, image.T, None)
        if bias is None:
            into.copy_(y)
        else:
            torch.add(y, bias[:, None], out=into)
    return out


def _onednn_takes(*tensors: Tensor | None) -> bool:
    """Whether oneDNN's product may stand for torch's: no gradient, no graph being taken, no other precision."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"):
        return False
    wanted = torch.is_grad_enabled()
    return torch.backends.mkldnn.is_available() and all(
        one.dtype == torch.float32
        and one.device.type == "cpu"
        and type(one) in (Tensor, nn.Parameter)
        and not (wanted and one.requires_grad)
        for one in tensors
        if one is not None
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y
