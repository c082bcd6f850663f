"""Convolutions stored as coefficients of their weight: see methods/layers/spectral.py."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers import products
from methods.layers.base import CompressedLayer
from methods.layers.bases import basis
from methods.layers.constraints import original
from methods.layers.costs import convolution_s, least, product_s
from methods.layers.materialised import Materialised, may_keep
from methods.layers.packing import Box, pack, unpack
from methods.layers.spectral import COMPILED_BATCH, Route

Pair = int | tuple[int, ...]


class SpectralConv2d(CompressedLayer):
    """A convolution whose weight [out, in/g, kh, kw] is transformed over its channel axes, its taps or both, each
    group by itself.

    Stored: what is kept of S [g * keep_out, keep_in, *kept taps], where group j holds rows j * keep_out and on, and
    the bias [out].
    keep_in, keep_out: coefficients kept per group, of in/g and out/g. The rest as in `nn.Conv2d`, and
    channels: whether the channel axes are transformed; if not, all channels are kept.
    keep_taps: rows and columns kept of the transformed taps; None leaves the taps as they are.
    diagonal, tap_diagonal: sides of the triangles kept of channels and of taps, 0 for all of S.
    Input [n, in, h, w] or [in, h, w].
    """

    weights = ("coefficients",)
    scope = "conv"
    in_basis: Tensor  # C_in [keep_in, in/g]; empty [0, 0] where channels are not transformed
    out_basis: Tensor  # C_out [keep_out, out/g]; likewise
    _row_basis: Tensor  # [kept rows, kh], of transformed taps
    _column_basis: Tensor  # [kept columns, kw]
    _places: Tensor  # of a triangle

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        keep_in: int,
        keep_out: int,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        basis_kind: str = "dct",
        channels: bool = True,
        keep_taps: tuple[int, ...] | None = None,
        diagonal: int = 0,
        tap_diagonal: int = 0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = _pair(kernel_size), _pair(stride), _pair(dilation)
        self.padding = padding if isinstance(padding, str) else _pair(padding)
        self.padding_mode, self.basis_kind, self.channels = padding_mode, basis_kind, channels
        if not channels and (keep_in, keep_out, diagonal) != (in_channels // groups, out_channels // groups, 0):
            raise ValueError("channels that are not transformed are all kept")
        self.keep_taps = None if keep_taps is None else _pair(keep_taps)
        self.box = Box(keep_out, keep_in, self.keep_taps or self.kernel_size, diagonal, tap_diagonal)
        for name, size, keep in (("in", in_channels // groups, keep_in), ("out", out_channels // groups, keep_out)):
            rows = basis(basis_kind, size, keep).float() if channels else torch.empty(0, 0)
            rows = rows.T.contiguous().T if name == "out" else rows  # used from the other side
            self.register_buffer(f"{name}_basis", rows, persistent=False)
        if self.keep_taps:
            for axis, size, keep in zip(("row", "column"), self.kernel_size, self.keep_taps, strict=True):
                self.register_buffer(f"_{axis}_basis", basis(basis_kind, size, keep).float(), persistent=False)
        if not self.box.is_rectangle:
            self.register_buffer("_places", self.box.places(), persistent=False)
        rows_stored, *rest = self.box.stored_shape
        self.coefficients = nn.Parameter(torch.zeros(groups * rows_stored, *rest))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self._materialised, self._kernel, self._packed = Materialised(), Materialised(), Materialised()

    @classmethod
    def of(
        cls,
        layer: nn.Conv2d,
        keep_in: int,
        keep_out: int,
        basis_kind: str = "dct",
        channels: bool = True,
        keep_taps: tuple[int, ...] | None = None,
        diagonal: int = 0,
        tap_diagonal: int = 0,
    ) -> SpectralConv2d:
        """The projection of `layer`: no other S of this form is closer to its weight in the L2 norm."""
        new = cls(
            layer.in_channels, layer.out_channels, layer.kernel_size, keep_in, keep_out, layer.stride, layer.padding,
            layer.dilation, layer.groups, layer.bias is not None, layer.padding_mode, basis_kind, channels, keep_taps,
            diagonal, tap_diagonal,
        )  # fmt: skip
        new = new.to(layer.weight.device, layer.weight.dtype)
        with torch.no_grad():
            spectrum = layer.weight
            if channels:
                spectrum = _between(spectrum, new.out_basis, new.in_basis.T, layer.groups)
            if keep_taps:
                spectrum = new._row_basis @ spectrum @ new._column_basis.mT
            new.set_spectrum(spectrum)
            if new.bias is not None and layer.bias is not None:
                new.bias.copy_(layer.bias)
        return new

    def config(self) -> dict[str, Any]:
        padding = self.padding if isinstance(self.padding, str) else list(self.padding)
        return {
            "in_channels": self.in_channels, "out_channels": self.out_channels, "kernel_size": list(self.kernel_size),
            "keep_in": self.box.inputs, "keep_out": self.box.outputs, "stride": list(self.stride),
            "padding": padding, "dilation": list(self.dilation), "groups": self.groups, "bias": self.bias is not None,
            "padding_mode": self.padding_mode, "basis_kind": self.basis_kind, "channels": self.channels,
            "keep_taps": None if self.keep_taps is None else list(self.keep_taps), "diagonal": self.box.diagonal,
            "tap_diagonal": self.box.tap_diagonal,
        }  # fmt: skip

    @property
    def stores_its_kernel(self) -> bool:
        """Whether the coefficients are the convolution between the channel transforms, `kernel()`, as they are."""
        return self.box.is_rectangle and self.keep_taps is None

    def spectrum(self) -> Tensor:
        """S [g * keep_out, keep_in, *kept taps], zero where it is not kept."""
        if self.box.is_rectangle:
            return self.coefficients
        return unpack(self.coefficients, self._places, self.box, self.groups)

    @torch.no_grad()
    def set_spectrum(self, spectrum: Tensor) -> None:
        """Stores what is kept of `spectrum` [g * keep_out, keep_in, *kept taps]."""
        original(self, "coefficients").copy_(pack(spectrum, self.box, self.groups))

    def tap_basis(self) -> Tensor | None:
        """The kept functions over the taps, [kept taps, kh * kw]; None where taps are not transformed."""
        if not self.keep_taps:
            return None
        return torch.kron(self._row_basis, self._column_basis)

    def kernel(self) -> Tensor:
        """The convolution between the channel transforms, [g * keep_out, keep_in, kh, kw]; kept where that is safe."""
        return self.coefficients if self.stores_its_kernel else self._kernel.weight(self, self._form_kernel)

    def _form_kernel(self, _coefficients: Tensor) -> Tensor:
        spectrum = self.spectrum()
        if not self.keep_taps:
            return spectrum
        return self._row_basis.mT @ spectrum @ self._column_basis

    def path_macs(self, input_shape: tuple[int, ...]) -> dict[Route, int]:
        """Multiply-accumulates for one image of this shape on each path, the weight at hand."""
        area_in = input_shape[-2] * input_shape[-1]
        area_out = math.prod(self._output_size(input_shape[-2:]))
        height, width = self.out_channels // self.groups, self.in_channels // self.groups
        taps = math.prod(self.kernel_size)
        found: dict[Route, int] = {"materialised": self.groups * height * width * taps * area_out}
        if self.channels:
            keep_out, keep_in = self.box.outputs, self.box.inputs
            inside = keep_in * width * area_in + keep_out * (keep_in * taps + height) * area_out
            found["factored"] = self.groups * inside
        return found

    def path(self, input_shape: tuple[int, ...]) -> Route:
        """The path taken for inputs of this shape: [n, in, h, w] or [in, h, w]."""
        batch, macs, box, groups = math.prod(input_shape[:-3]), self.path_macs(input_shape), self.box, self.groups
        height, width, taps = self.out_channels // groups, self.in_channels // groups, math.prod(self.kernel_size)
        entries = groups * height * width * taps
        times: dict[Route, float] = {"materialised": convolution_s(batch, macs["materialised"], entries)}
        if "factored" in macs:
            around = convolution_s(0, 0, box.inputs * width) + convolution_s(0, 0, box.outputs * height)
            inside = groups * box.outputs * box.inputs * taps
            times["factored"] = convolution_s(batch, macs["factored"], inside, packed=not self.training) + around
            if self.training:  # W is made anew each time
                times["materialised"] += product_s(width * taps, box.inputs, box.outputs)
                times["materialised"] += product_s(width * taps, box.outputs, height)
        return least(times)

    def deployed_path(self, input_shape: tuple[int, ...]) -> Route:
        """The path for runtimes that pack their weights beforehand: of fewest multiply-accumulates."""
        macs = self.path_macs(input_shape)
        return least(macs)

    def _route(self, x: Tensor) -> Route:
        """The path for x. While a graph is taken, the batch does not decide."""
        taken = torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing()
        return self.path((COMPILED_BATCH, *x.shape[-3:]) if taken else tuple(x.shape))

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return math.prod(input_shape[:-3]) * self.path_macs(input_shape)[self.path(input_shape)]

    def weight(self) -> Tensor:
        """The dense weight [out, in/g, kh, kw]; kept between calls where that is safe."""
        if not self.channels:
            return self.kernel()
        return self._materialised.weight(
            self, lambda _: _between(self.kernel(), self.out_basis.T, self.in_basis, self.groups)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self._route(x) == "materialised":
            return self._convolve(x, self.weight(), self.bias)
        kernel = self.kernel()
        inside = products.pointwise(x, self.in_basis, groups=self.groups, to=torch.channels_last)
        inside = self._convolve_inside(inside, kernel)  # [n, g * keep_out, h', w']
        return products.pointwise(inside, self.out_basis.T, self.bias, self.groups, products.layout(x, kernel))

    def _convolve_inside(self, x: Tensor, kernel: Tensor) -> Tensor:
        left, right, top, bottom = self._margins()
        even = self.padding_mode == "zeros" and (left, top) == (right, bottom)
        if not may_keep(self):
            self._packed.forget()
            return self._convolve(x, kernel, None)
        fits = x.dim() == 4 and min(self._output_size(x.shape[-2:])) > 0  # else torch says what is wrong
        if not (even and fits and products.packs(x, kernel)):
            return self._convolve(x, kernel, None)
        form = (self.stride, (top, left), self.dilation)
        packed = self._packed.weight(self, lambda _: products.pack(kernel, x.shape, form, self.groups))
        return products.convolve_packed(x, packed, form, self.groups)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            x, padding = self.padded(x), 0
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def padded(self, x: Tensor) -> Tensor:
        """x with its margins, in any basis: what is padded is zero or a copy of x, so it commutes with C_in."""
        return F.pad(x, self._margins(), mode="constant" if self.padding_mode == "zeros" else self.padding_mode)

    def _margins(self) -> list[int]:
        """Padding as (left, right, top, bottom)."""
        if isinstance(self.padding, tuple):
            return [self.padding[1], self.padding[1], self.padding[0], self.padding[0]]
        if self.padding == "valid":
            return [0, 0, 0, 0]
        totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        return [totals[1] // 2, totals[1] - totals[1] // 2, totals[0] // 2, totals[0] - totals[0] // 2]

    def _output_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        left, right, top, bottom = self._margins()
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        return (
            (size[0] + top + bottom - spans[0]) // self.stride[0] + 1,
            (size[1] + left + right - spans[1]) // self.stride[1] + 1,
        )


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _between(tensor: Tensor, left: Tensor, right: Tensor, groups: int) -> Tensor:
    """left @ tensor @ right over the two channel axes: [g * b, c, kh, kw] with [a, b], [c, d] -> [g * a, d, kh, kw]."""
    _, channels, height, width = tensor.shape
    tensor = tensor.reshape(groups, left.shape[1], channels * height * width)
    tensor = (left @ tensor).reshape(groups * left.shape[0], channels, height * width)
    return (right.T @ tensor).reshape(groups * left.shape[0], right.shape[1], height, width)
