"""Linear layers whose rows are cosines, or sines, of trained frequency.

Row k of the weight is sqrt(2/n) cos(pi (2i + 1) f_k / 2n), i = 0 .. n - 1: a row of the DCT-II matrix where f_k is a
whole number, and of any frequency between. The sine form has sin(pi (2i + 1) (f_k + 1) / 2n). Two numbers an output are
stored, its frequency and its bias, whatever the number of inputs: no compression ratio can be chosen.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers.base import CompressedLayer
from methods.layers.materialised import Materialised

Wave = Literal["dct", "dst"]
_A_SAMPLE = 4  # frequencies tried to one of the transform


class FrequencyLinear(CompressedLayer):
    """y = W x + b with W made of `frequencies` [out], in units of the transform's rows, 0 to `in_features`.

    Input [..., in], output [..., out]. Frequencies want float32: bfloat16 holds one near 500 to a whole number or two.

    Raises:
        ValueError: `wave` is neither dct nor dst.
    """

    weights = ()  # a frequency is neither pruned nor rounded: either makes another function of it
    scope = "linear"

    def __init__(self, in_features: int, out_features: int, bias: bool = True, wave: Wave = "dct") -> None:
        super().__init__()
        if wave not in ("dct", "dst"):
            raise ValueError(f"wave must be dct or dst, got {wave!r}")
        self.in_features, self.out_features, self.wave = in_features, out_features, wave
        self.frequencies = nn.Parameter(torch.zeros(out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self._kept = Materialised("frequencies")

    @classmethod
    def of(cls, layer: nn.Linear, wave: Wave = "dct") -> FrequencyLinear:
        """Each row the wave whose direction is nearest to its own, of frequencies a quarter of a row apart.

        Not the wave at the least distance: trained rows are short beside waves, and the shortest wave, near the highest
        frequency, would be that of all of them."""
        new = cls(layer.in_features, layer.out_features, layer.bias is not None, wave)
        new = new.to(layer.weight.device, layer.weight.dtype)
        tried = torch.arange(_A_SAMPLE * layer.in_features, dtype=torch.float32, device=layer.weight.device) / _A_SAMPLE
        with torch.no_grad():
            waves = _waves(tried, layer.in_features, wave)  # [tried, in]
            along = layer.weight.float() @ nn.functional.normalize(waves).T  # [out, tried]: |row| times the cosine
            new.frequencies.copy_(tried[along.argmax(1)])
            if new.bias is not None:
                new.bias.copy_(layer.bias)
        return new

    @torch.no_grad()
    def spread(self) -> None:
        """Sets the frequencies evenly apart, low ones first, and the bias to zero."""
        count = torch.arange(self.out_features, dtype=self.frequencies.dtype, device=self.frequencies.device)
        self.frequencies.copy_(count * (self.in_features / self.out_features))
        if self.bias is not None:
            self.bias.zero_()

    def config(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features, "out_features": self.out_features, "bias": self.bias is not None,
            "wave": self.wave,
        }  # fmt: skip

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        return math.prod(input_shape) * self.out_features

    def weight(self) -> Tensor:
        """The dense weight [out, in]; kept between calls where that is safe."""
        return self._kept.weight(self, lambda frequencies: _waves(frequencies, self.in_features, self.wave))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight().to(x.dtype), self.bias)


def _waves(frequencies: Tensor, n: int, wave: Wave) -> Tensor:
    """[rows] -> [rows, n]."""
    places = (2 * torch.arange(n, dtype=frequencies.dtype, device=frequencies.device) + 1) * (math.pi / (2 * n))
    scale = math.sqrt(2 / n)
    if wave == "dct":
        return scale * torch.cos(frequencies[:, None] * places)
    return scale * torch.sin((frequencies[:, None] + 1) * places)
