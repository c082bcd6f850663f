"""Layers stored as the low-frequency coefficients of their weight in an orthonormal basis.

The weight is W = C_out^T S C_in with S the kept coefficients, C_in [keep_in, in] and C_out [keep_out, out] the first
rows of a basis that is made again from its name, never stored. Of a convolution the taps may be transformed too,
alone or with the channels. What is kept of S is a rectangle or a triangle (methods/layers/packing.py). Ways of
computing the same outputs:

  factored      C_out^T (S (C_in x)): three small products, a k x k convolution between two 1 x 1 ones
  materialised  W is formed and the dense layer is run
  fast          linear layers: the same three steps, with fast transforms (methods/layers/fast.py) around S

The one that is quickest for the shape at hand by a model of the time it takes (methods/layers/costs.py) is run;
`path(input_shape)` tells which. The factored and the fast path never hold W, and a layer that is always fast holds no
basis either.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from methods.layers import fast, products
from methods.layers.base import CompressedLayer
from methods.layers.bases import basis
from methods.layers.constraints import original
from methods.layers.costs import least, product_s, transform_s
from methods.layers.materialised import Materialised
from methods.layers.packing import Box, pack, unpack

Route = Literal["factored", "materialised", "fast"]
COMPILED_BATCH = 32  # assumed where the batch is not to decide


class SpectralLinear(CompressedLayer):
    """y = C_out^T S C_in x + b, with what is kept of S [keep_out, keep_in] and b [out] stored.

    diagonal: side of the triangle of S that is kept, 0 for all of S. Input [..., in], output [..., out].
    """

    weights = ("coefficients",)
    scope = "linear"
    _places: Tensor  # of a triangle

    def __init__(
        self,
        in_features: int,
        out_features: int,
        keep_in: int,
        keep_out: int,
        bias: bool = True,
        basis_kind: str = "dct",
        diagonal: int = 0,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.basis_kind = in_features, out_features, basis_kind
        self.box = Box(keep_out, keep_in, (), diagonal)
        self.coefficients = nn.Parameter(torch.zeros(self.box.stored_shape))
        if not self.box.is_rectangle:
            self.register_buffer("_places", self.box.places(), persistent=False)
        times = self._times(1)  # of one input, for which starting weighs most
        if least(times) != "fast":  # it is not always fast
            self.register_buffer("_in_basis", basis(basis_kind, in_features, keep_in).float(), persistent=False)
            self.register_buffer("_out_basis", basis(basis_kind, out_features, keep_out).float(), persistent=False)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self._materialised, self._unpacked = Materialised(), Materialised()

    @classmethod
    def of(
        cls, layer: nn.Linear, keep_in: int, keep_out: int, basis_kind: str = "dct", diagonal: int = 0
    ) -> SpectralLinear:
        """The projection of `layer`: no other S of this form is closer to its weight in the L2 norm."""
        new = cls(
            layer.in_features, layer.out_features, keep_in, keep_out, layer.bias is not None, basis_kind, diagonal
        )
        new = new.to(layer.weight.device, layer.weight.dtype)
        with torch.no_grad():
            new.set_spectrum(new.out_basis @ layer.weight @ new.in_basis.T)
            if new.bias is not None:
                new.bias.copy_(layer.bias)
        return new

    @property
    def in_basis(self) -> Tensor:
        """C_in [keep_in, in]."""
        return self._basis("_in_basis", self.in_features, self.box.inputs)

    @property
    def out_basis(self) -> Tensor:
        """C_out [keep_out, out]."""
        return self._basis("_out_basis", self.out_features, self.box.outputs)

    def _basis(self, name: str, n: int, rows: int) -> Tensor:
        if name in self._buffers:
            return self._buffers[name]  # type: ignore[return-value]
        return basis(self.basis_kind, n, rows).to(self.coefficients.device, self.coefficients.dtype)

    def hold_bases(self) -> None:
        """Keeps the bases from now on, for runtimes that know no fast transform: an exporter would otherwise write down
        how they are made, to be made again in every pass."""
        for name, rows in (("_in_basis", self.in_basis), ("_out_basis", self.out_basis)):
            self.register_buffer(name, rows, persistent=False)

    def spectrum(self) -> Tensor:
        """S [keep_out, keep_in], zero where it is not kept; not a copy where it is stored as it is."""
        if self.box.is_rectangle:
            return self.coefficients
        return self._unpacked.weight(self, lambda stored: unpack(stored, self._places, self.box, 1))

    @torch.no_grad()
    def set_spectrum(self, spectrum: Tensor) -> None:
        """Stores what is kept of `spectrum` [keep_out, keep_in]."""
        original(self, "coefficients").copy_(pack(spectrum, self.box, 1))

    def config(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features, "out_features": self.out_features, "keep_in": self.box.inputs,
            "keep_out": self.box.outputs, "bias": self.bias is not None, "basis_kind": self.basis_kind,
            "diagonal": self.box.diagonal,
        }  # fmt: skip

    def path_macs(self) -> dict[Route, int]:
        """Multiply-accumulates for one input vector on each path, the weight at hand; of fast transforms about."""
        (keep_out, keep_in), width, height = self.box.shape, self.in_features, self.out_features
        found: dict[Route, int] = {
            "factored": keep_in * width + keep_out * keep_in + keep_out * height,
            "materialised": width * height,
        }
        if fast.has_fast(self.basis_kind, width) and fast.has_fast(self.basis_kind, height):
            transforms = self._transform_operations()
            found["fast"] = keep_out * keep_in + round(transforms)
        return found

    def path(self, input_shape: tuple[int, ...] = ()) -> Route:
        """The path taken for inputs of this shape: [..., in], or () for one vector."""
        times = self._times(math.prod(input_shape[:-1]))
        return least(times)

    def _times(self, batch: int) -> dict[Route, float]:
        """Seconds of each path, about; in training, where W is made anew each time, with making it."""
        (keep_out, keep_in), width, height, kind = self.box.shape, self.in_features, self.out_features, self.basis_kind
        inside = product_s(batch, keep_in, keep_out)
        forming = product_s(width, keep_in, keep_out) + product_s(width, keep_out, height) if self.training else 0
        found: dict[Route, float] = {
            "factored": product_s(batch, width, keep_in) + inside + product_s(batch, keep_out, height),
            "materialised": product_s(batch, width, height) + forming,
        }
        if fast.has_fast(kind, width) and fast.has_fast(kind, height):
            transforms = transform_s(kind, batch, width, keep_in) + transform_s(kind, batch, height, keep_out)
            found["fast"] = transforms + inside
        return found

    def deployed_path(self, input_shape: tuple[int, ...] = ()) -> Route:
        """The path for runtimes that know no fast transform and pack their weights beforehand: of fewest
        multiply-accumulates."""
        macs = self.path_macs()
        return "factored" if macs["factored"] < macs["materialised"] else "materialised"

    def _transform_operations(self) -> float:
        (keep_out, keep_in), kind = self.box.shape, self.basis_kind
        return fast.operations(kind, self.in_features, keep_in) + fast.operations(kind, self.out_features, keep_out)

    def _route(self, x: Tensor) -> Route:
        """The path for x. Under compilation the batch does not decide; exporters know no fast transform."""
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            return self.deployed_path()
        return self.path((COMPILED_BATCH, 1) if torch.compiler.is_compiling() else tuple(x.shape))

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return math.prod(input_shape[:-1]) * self.path_macs()[self.path(input_shape)]

    def weight(self) -> Tensor:
        """The dense weight [out, in]; kept between calls where that is safe."""
        return self._materialised.weight(self, lambda _: self.out_basis.T @ self.spectrum() @ self.in_basis)

    def forward(self, x: Tensor) -> Tensor:
        route = self._route(x)
        if route == "materialised":
            return products.linear(x, self.weight(), self.bias)
        if route == "fast":
            inside = products.linear(fast.analysis(self.basis_kind, x, self.box.inputs), self.spectrum())
            y = fast.synthesis(self.basis_kind, inside, self.out_features)
            return y if self.bias is None else y.add_(self.bias)  # a tensor of our own, which no gradient needs
        inside = products.linear(products.linear(x, self.in_basis), self.spectrum())
        return products.linear(inside, self.out_basis.T, self.bias)
