"""Spectral layers: convolutions and linear layers become the low frequencies of their weight in a fixed basis.

Idea     W = C_out^T S C_in with orthonormal C_out, C_in: keep the corner of S with the lowest frequencies of both
         channel axes, train it further, and make the bases again from their name when the network is read.
Source   truncated cosine transforms of weights: Chen et al. 2016, arXiv 1506.04449, section 3 (there over the taps of
         a filter, and hashed; here over channels, so that computing needs no dense weight). S = C_out W C_in^T is the
         nearest in L2, since both bases are orthonormal.
Stored   S [keep_out, keep_in] (convolutions: [g * keep_out, keep_in, kh, kw]) and the bias.
Cost     a least-squares fit of each layer (methods/reconstruction.py), then fine-tuning.
Fails    the order of channels carries no smoothness, so the projection alone loses about what any fixed subspace of
         that size loses; the fit and fine-tuning are what recover. A layer's rank is at most that of its corner.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.fx import GraphModule

from methods.graph import replace_module
from methods.layers import SpectralConv2d, SpectralLinear
from methods.layers.wavelets import LOW_PASS
from methods.reconstruction import fit
from methods.replacement import LayerReplacement, channels


@dataclass(frozen=True)
class Spectral(LayerReplacement, ABC):
    """Stores the fraction `keep` of each layer's coefficients in the basis that the subclass names.

    keep: fraction of the coefficients of each layer that is kept, in (0, 1].
    calibration: training images that the coefficients are fitted on before fine-tuning; 0 leaves them as projected.
    layers: transform convolutions, linear layers or both.
    """

    @property
    @abstractmethod
    def basis(self) -> str:
        """What `methods.layers.bases.basis` calls it."""

    def shrinks(self, layer: nn.Module) -> bool:
        """Whether fewer coefficients than weights remain; at keep = 1 every layer but a depthwise one counts."""
        height, width = channels(layer)
        return height * width > 1 and (self.keep == 1 or math.prod(corner(height, width, self.keep)) < height * width)

    def replaced(self, layer: nn.Module) -> nn.Module:
        return project(layer, self.keep, self.basis)

    def fit(self, new: nn.Module, x: Tensor, y: Tensor) -> None:
        assert isinstance(new, SpectralLinear | SpectralConv2d)
        fit(new, x, y)

    def put(self, model: GraphModule, path: str, new: nn.Module) -> None:
        replace_module(model, path, new)


@dataclass(frozen=True)
class DCT(Spectral):
    """Coefficients of the type-II discrete cosine transform (Ahmed, Natarajan, Rao 1974)."""

    basis = "dct"


@dataclass(frozen=True)
class DST(Spectral):
    """Coefficients of the type-II discrete sine transform (Martucci 1994): no constant function among them."""

    basis = "dst"


@dataclass(frozen=True)
class DFT(Spectral):
    """Coefficients of the Fourier transform of real signals, packed so that all of them are real: cosines and sines."""

    basis = "dft"


@dataclass(frozen=True)
class Wavelet(Spectral):
    """Coefficients of a periodised orthonormal wavelet basis (methods/layers/wavelets.py), coarse scales first.

    family: haar, db2, db4, sym4 or coif1.
    """

    family: Literal["haar", "db2", "db4", "sym4", "coif1"] = "db2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in LOW_PASS:
            raise ValueError(f"family must be one of {', '.join(LOW_PASS)}, got {self.family!r}")

    @property
    def basis(self) -> str:
        return self.family


@dataclass(frozen=True)
class Hadamard(Spectral):
    """Coefficients of the Walsh-Hadamard transform, by rising number of sign changes."""

    basis = "hadamard"


@dataclass(frozen=True)
class RandomBasis(Spectral):
    """The control: the same layers in a random orthonormal basis, which knows nothing of frequency.

    draw: which random basis.
    """

    draw: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.draw < 2**32:
            raise ValueError(f"draw must be in [0, 2^32), got {self.draw}: it seeds the random basis")

    @property
    def basis(self) -> str:
        return f"random:{self.draw}"


def project(layer: nn.Module, keep: float, basis: str) -> SpectralLinear | SpectralConv2d:
    """The spectral layer nearest to `layer` in L2, of the fraction `keep` of its coefficients."""
    keep_out, keep_in = corner(*channels(layer), keep)
    if isinstance(layer, nn.Linear):
        return SpectralLinear.of(layer, keep_in, keep_out, basis)
    assert isinstance(layer, nn.Conv2d)
    return SpectralConv2d.of(layer, keep_in, keep_out, basis)


def corner(height: int, width: int, keep: float) -> tuple[int, int]:
    """Rows and columns kept of a [height, width] spectrum: at most the fraction `keep` of it (but one entry at least),
    as near to a square as the sides allow, since the smaller side bounds the rank."""
    area = keep * height * width
    side = math.sqrt(area)
    if height <= width:
        rows = min(height, max(1, round(side)))
        return rows, min(width, max(1, math.floor(area / rows + 1e-9)))
    rows, columns = corner(width, height, keep)
    return columns, rows
