"""A fixed change of basis over channels, as a layer of its own: one of the two outer products of a spectral layer.

A quantised spectral layer is three layers of the graph (methods/quantization/expansion.py): this one inwards, the
coefficients as an ordinary convolution or linear layer, and this one outwards. The basis is made again from its name
and size, and so are its int8 codes: they follow from it by a fixed rule, so a file holds neither.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers.base import CompressedLayer
from methods.layers.bases import basis
from methods.layers.constraints import constrain
from methods.layers.quantization import Dequantize, largest_weight_code, weight_scale

Direction = Literal["inward", "outward"]
Domain = Literal["conv", "linear"]


class BasisTransform(CompressedLayer):
    """y = scale * (T x) + bias for each group of channels, with T = C [rows, size] inwards and C^T outwards.

    domain: "conv" takes [n, c, h, w] or [c, h, w], as a 1 x 1 convolution; "linear" takes [..., c].
    basis_kind, size, rows: C holds the first `rows` functions of a basis of R^size (methods/layers/bases.py).
    bits: T is rounded to codes of that many bits, a step for each of its rows; None: it is not rounded.
    bias, scaled: whether each output has a bias and a factor, stored and trained; a batch norm folds into them.
    """

    matrix: Tensor  # T, rounded; [out/g, in/g]

    def __init__(
        self,
        domain: Domain,
        basis_kind: str,
        size: int,
        rows: int,
        direction: Direction,
        groups: int = 1,
        bits: int | None = None,
        bias: bool = False,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        if domain not in ("conv", "linear") or direction not in ("inward", "outward"):
            raise ValueError(f"a transform is of conv or linear, inward or outward, got {domain!r} and {direction!r}")
        if (bits is not None and not 2 <= bits <= 8) or groups < 1 or (domain == "linear" and groups > 1):
            raise ValueError(f"bits must be in 2..8 or None, and groups 1 or those of a conv, got {bits} and {groups}")
        self.domain, self.basis_kind, self.size, self.rows = domain, basis_kind, size, rows
        self.direction, self.groups, self.bits = direction, groups, bits
        inside, outside = (size, rows) if direction == "inward" else (rows, size)
        self.in_channels, self.out_channels = groups * inside, groups * outside
        codes, step = self._codes()
        self.register_buffer("matrix", codes * step[:, None], persistent=False)
        self.bias = nn.Parameter(torch.zeros(self.out_channels)) if bias else None
        self.scale = nn.Parameter(torch.ones(self.out_channels)) if scaled else None

    def config(self) -> dict[str, Any]:
        return {
            "domain": self.domain, "basis_kind": self.basis_kind, "size": self.size, "rows": self.rows,
            "direction": self.direction, "groups": self.groups, "bits": self.bits, "bias": self.bias is not None,
            "scaled": self.scale is not None,
        }  # fmt: skip

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return math.prod(output_shape) * self.in_channels // self.groups

    def weight(self) -> Tensor:
        """[out, in/g], every group's, with the factors of its outputs."""
        weight = self.matrix.repeat(self.groups, 1)
        return weight if self.scale is None else weight * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        if self.domain == "linear":
            return F.linear(x, self.weight(), self.bias)
        return F.conv2d(x, self.weight()[:, :, None, None], self.bias, groups=self.groups)

    @torch.no_grad()
    def rescale(self, scale: Tensor, shift: Tensor) -> None:
        """From now on the outputs are what they were, times scale [out], plus shift [out]; rounds once."""
        dtype = self.matrix.dtype
        bias = shift if self.bias is None else self.bias.double() * scale + shift
        scale = scale if self.scale is None else self.scale.double() * scale
        self.scale, self.bias = nn.Parameter(scale.to(dtype)), nn.Parameter(bias.to(dtype))

    @torch.no_grad()
    def step(self) -> Tensor | None:
        """The step of each output's weights [out], above 0; None if they are not rounded."""
        if self.bits is None:
            return None
        step = self._codes()[1].to(self.matrix.device).repeat(self.groups)
        if self.scale is not None:
            step = step * self.scale.abs()
        return torch.where(step > 0, step, 1.0)

    @torch.no_grad()
    def plain(self) -> nn.Conv2d | nn.Linear:
        """The ordinary layer that computes the same, its weight int8 codes read by `Dequantize`.

        Raises:
            ValueError: the transform is not rounded.
        """
        step = self.step()
        if step is None:
            raise ValueError("a transform that is not rounded has no codes: make it with bits")
        codes = self._codes()[0].to(self.matrix.device).repeat(self.groups, 1)
        if self.scale is not None:  # steps are positive: a negative factor goes into the codes
            codes = codes * self.scale.sign()[:, None]
        layer: nn.Conv2d | nn.Linear
        if self.domain == "linear":
            layer = nn.Linear(self.in_channels, self.out_channels, bias=False, device="meta")
        else:
            layer = nn.Conv2d(self.in_channels, self.out_channels, 1, groups=self.groups, bias=False, device="meta")
            codes = codes[:, :, None, None]
        layer.weight = nn.Parameter(codes.to(torch.int8), requires_grad=False)
        layer.bias = self.bias
        constrain(layer, "weight", Dequantize.of(step))
        return layer

    def _codes(self) -> tuple[Tensor, Tensor]:
        """Codes [out/g, in/g], small integers as float32, and their steps [out/g]; unrounded, the values and ones."""
        values = basis(self.basis_kind, self.size, self.rows)  # float64 [rows, size]
        values = values if self.direction == "inward" else values.T
        if self.bits is None:
            return values.float(), torch.ones(len(values))
        step = weight_scale(values, self.bits)
        largest = largest_weight_code(self.bits)
        return torch.round(values / step[:, None]).clamp(-largest, largest).float(), step

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())
