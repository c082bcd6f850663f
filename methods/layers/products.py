"""Matrix products and convolutions of spectral layers, by the faster of the two libraries that torch holds.

`torch.nn.functional.linear` calls MKL, which leaves the AVX-512 units of some processors idle; oneDNN, which runs
torch's convolutions, does not. torch's compiler calls oneDNN's product by an operation that any code may call. It has
no gradient, so it is taken where none is asked for: on a CPU, in float32, and where the product is long enough to pay.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers.materialised import under_transforms

Form = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # stride, padding, dilation

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


def pointwise(
    x: Tensor, matrix: Tensor, bias: Tensor | None = None, groups: int = 1, to: torch.memory_format | None = None
) -> Tensor:
    """A channel transform by `matrix` [b, a] in each group: x [n, g * a, h, w] -> [n, g * b, h, w], n optional.

    to: `contiguous_format` is kept to; `channels_last` is taken where it costs nothing. Without, it is that of x.
    """
    if groups == 1 and x.dim() == 4 and _onednn_takes(x, matrix, bias):
        count, channels, height, width = x.shape
        macs = height * width * matrix.numel()  # an image
        last = x.is_contiguous(memory_format=torch.channels_last)
        if last and to != torch.contiguous_format:
            if x.numel() < _PIXELS and count * macs >= _MACS:
                y = _product(x.permute(0, 2, 3, 1).reshape(-1, channels), matrix, bias)
                return y.view(count, height, width, -1).permute(0, 3, 1, 2)
        elif macs >= _MACS:
            images = x.permute(0, 2, 3, 1) if last else x.contiguous().permute(0, 2, 3, 1)
            return _image_by_image(images, matrix.contiguous(), bias, last=to == torch.channels_last)
    matrix = matrix if groups == 1 else matrix.repeat(groups, 1)
    y = F.conv2d(x, matrix[:, :, None, None], bias, groups=groups)
    return y.contiguous() if to == torch.contiguous_format else y


def packs(x: Tensor, kernel: Tensor) -> bool:
    """Whether a convolution of x by `kernel` may be one by a packed kernel."""
    return x.dim() == 4 and x.numel() > 0 and kernel.numel() > 0 and _onednn_takes(x, kernel)


def pack(kernel: Tensor, shape: Sequence[int], form: Form, groups: int) -> Tensor:
    """`kernel` [out, in/g, kh, kw] in the order that oneDNN computes in; otherwise it is copied to it at each call.

    shape: of an input, for which the order suits best.
    """
    stride, padding, dilation = ([*one] for one in form)
    reorder = torch.ops.mkldnn._reorder_convolution_weight
    packed: Tensor = reorder(kernel, padding, stride, dilation, groups, [*shape])
    return packed


def convolve_packed(x: Tensor, packed: Tensor, form: Form, groups: int, bias: Tensor | None = None) -> Tensor:
    """`conv2d`, by what `pack` made."""
    stride, padding, dilation = ([*one] for one in form)
    convolution = torch.ops.mkldnn._convolution_pointwise
    y: Tensor = convolution(x, packed, bias, padding, stride, dilation, groups, "none", [], "")
    return y


def layout(*tensors: Tensor) -> torch.memory_format | None:
    """The layout of what a convolution makes of tensors [., ., ., .]; None where a graph is being taken or n is left
    out."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or any(one.dim() != 4 for one in tensors):
        return None
    first = all(one.is_contiguous() or not one.is_contiguous(memory_format=torch.channels_last) for one in tensors)
    return torch.contiguous_format if first else torch.channels_last


def _image_by_image(x: Tensor, matrix: Tensor, bias: Tensor | None, last: bool) -> Tensor:
    """`pointwise` of x [n, h, w, c], however it lies, to [n, b, h, w] with channels last or first: no copy of all
    images in another layout, which a convolution would make."""
    count, height, width, _ = x.shape
    pixels, rows = height * width, len(matrix)
    if count == 1 and not last:
        y = _product(matrix, x.view(pixels, -1), None)
        return (y if bias is None else y.add_(bias[:, None])).view(1, rows, height, width)
    out = x.new_empty((count, pixels, rows) if last else (count, rows, pixels))
    for image, into in zip(x.flatten(1, 2), out, strict=True):
        y = _product(matrix, image, None)  # [b, h * w]
        y = y.T if last else y
        if bias is None:
            into.copy_(y)
        else:
            torch.add(y, bias if last else bias[:, None], out=into)
    if last:
        return out.view(count, height, width, rows).permute(0, 3, 1, 2)
    return out.view(count, rows, height, width)


def _onednn_takes(*tensors: Tensor | None) -> bool:
    """Whether oneDNN's product may stand for torch's: no gradient, no graph being taken, no other precision."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"):
        return False
    if under_transforms():
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
