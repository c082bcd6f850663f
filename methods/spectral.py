"""Spectral layers: convolutions and linear layers become the kept coefficients of their weight in a fixed basis.

Idea     W = C_out^T S C_in with orthonormal C_out, C_in: keep the part of S with the lowest frequencies (or the largest
         coefficients), train it further, and make the bases again from their name when the network is read.
Source   truncated cosine transforms of weights: Chen et al. 2016, arXiv 1506.04449, section 3 (there over the taps of
         a filter, and hashed; here over channels, so that computing needs no dense weight, and over taps). S = C_out W
         C_in^T is the nearest in L2, since both bases are orthonormal.
Stored   what is kept of S and the bias. The positions of a rectangle or a triangle are known; those of the largest
         coefficients are stored.
Cost     a least-squares fit of each layer (methods/reconstruction.py), then fine-tuning.
Fails    the order of channels carries no smoothness, so the projection alone loses about what any fixed subspace of
         that size loses; the fit and fine-tuning are what recover. A layer's rank is at most that of its corner.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.allocation import Axes, Sides, box_for, fractions_near, kept_energy, spread
from methods.base import Strength, Task
from methods.graph import replace_module
from methods.layers import FrequencyLinear, Mask, SpectralConv2d, SpectralLinear, constrain
from methods.layers.packing import Box
from methods.layers.wavelets import LOW_PASS
from methods.projection import draw, highest, keep_variance, kept_fraction, project, sides_of
from methods.reconstruction import SpectralLayer, fit
from methods.replacement import LayerReplacement


@dataclass(frozen=True)
class Spectral(LayerReplacement, ABC):
    """Stores the fraction `keep` of the network's coefficients in the basis that the subclass names.

    keep: fraction of the coefficients that is kept, in (0, 1].
    calibration: training images that the coefficients, or from scratch their scale, are fitted on before training; 0
        leaves them as projected, or drawn for white inputs.
    layers: transform convolutions, linear layers or both.
    skip: layers to leave alone: `first`, `last`, names with * and ?, a space between.
    axes: of convolutions, transform the channels, the taps (spatial) or both.
    shape: keep the rectangle of the lowest frequencies, the triangle i + j < n, or the largest magnitudes.
    budget: keep the fraction of each layer (uniform), or of the whole network, by the energy of the layers (global).
    init: start from the projection of the trained weights, or from coefficients drawn at random (scratch).
    recipe: train for the fine-tuning epochs, or as the dense network was trained (full); auto is full from scratch.
    """

    axes: Axes = "channels"
    shape: Literal["rectangle", "triangle", "largest"] = "rectangle"
    budget: Literal["uniform", "global"] = "uniform"
    init: Literal["project", "scratch"] = "project"
    recipe: Literal["auto", "finetune", "full"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, hint in (
            ("axes", Axes),
            ("shape", Literal["rectangle", "triangle", "largest"]),
            ("budget", Literal["uniform", "global"]),
            ("init", Literal["project", "scratch"]),
            ("recipe", Literal["auto", "finetune", "full"]),
        ):
            if getattr(self, name) not in (choices := get_args(hint)):
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.shape == "largest" and self.init == "scratch":
            raise ValueError("shape=largest needs init=project: random coefficients have no largest ones to keep")

    @property
    @abstractmethod
    def basis(self) -> str:
        """What `methods.layers.bases.basis` calls it."""

    @property
    def fits(self) -> bool:
        return self.calibration > 0 and (self.keep < 1 or self.init == "scratch")

    def shrinks(self, layer: nn.Module) -> bool:
        """Whether fewer coefficients than weights remain; at keep = 1 every layer that has an axis to cut counts."""
        sides = sides_of(layer)
        channel_sides, taps = sides.outputs * sides.inputs, math.prod(sides.taps)
        cuttable = {"channels": channel_sides, "spatial": taps, "all": channel_sides * taps}[self.axes]
        if cuttable == 1 or self.keep == 1 or self.budget == "global":
            return cuttable > 1
        return self._count(sides) < sides.count

    @property
    def why_none(self) -> str:
        if self.axes == "spatial" and self.layers == "linear":
            return "axes=spatial transforms the taps of convolutions, and linear layers have none"
        return super().why_none

    def new_layers(self, layers: Mapping[str, nn.Module], task: Task) -> dict[str, nn.Module]:
        if self.shape == "largest":
            return dict(self._largest(layers))
        new = {
            path: project(layers[path], box, self.basis, self.axes) for path, box in self._boxes(layers, task).items()
        }
        if self.init == "scratch":
            generator = task.generator()
            for layer in new.values():
                draw(layer, generator)
        return dict(new)

    def fit(self, new: nn.Module, x: Tensor, y: Tensor) -> None:
        assert isinstance(new, SpectralLinear | SpectralConv2d)
        if self.init == "scratch":
            keep_variance(new, x)
        else:
            fit(new, x, y)

    def put(self, model: GraphModule, path: str, new: nn.Module) -> None:
        replace_module(model, path, new)

    def trained(self, model: GraphModule, layers: Mapping[str, nn.Module], task: Task) -> GraphModule:
        full = self.recipe == "full" or (self.recipe == "auto" and self.init == "scratch")
        decay = {}
        if self.init == "scratch":  # coefficients start 1 / keep times as large in variance as the weights they replace
            decay = {f"{path}.coefficients": kept_fraction(layer) for path, layer in layers.items()}
        return task.finetune(model, full=full, decay=decay)

    def _count(self, sides: Sides) -> int:
        if self.shape == "largest":
            return max(1, math.floor(self.keep * sides.count + 1e-9))
        return box_for(sides, self.keep, self.axes, self.shape == "triangle").count

    def _boxes(self, layers: Mapping[str, nn.Module], task: Task) -> dict[str, Box]:
        """What is kept of each layer."""
        sides = {path: sides_of(layer) for path, layer in layers.items()}
        triangle = self.shape == "triangle"
        if self.budget == "uniform" or self.keep == 1:
            return {path: box_for(one, self.keep, self.axes, triangle) for path, one in sides.items()}
        boxes, curves = {}, {}
        for path, layer in layers.items():
            groups = getattr(layer, "groups", 1)
            spectrum = project(layer, sides[path].whole(), self.basis, self.axes).spectrum()
            boxes[path] = [box_for(sides[path], keep, self.axes, triangle) for keep in fractions_near(self.keep)]
            curves[path] = [(groups * box.count, kept_energy(spectrum, box, groups)) for box in boxes[path]]
        budget = math.floor(self.keep * sum(layer.weight.numel() for layer in layers.values()) + 1e-9)  # type: ignore[operator, union-attr, misc]
        return {path: boxes[path][index] for path, index in spread(curves, budget).items()}

    def _largest(self, layers: Mapping[str, nn.Module]) -> dict[str, SpectralLayer]:
        """Whole spectra under masks on all but the largest coefficients. A global budget ranks them by their share of
        their layer's energy."""
        new = {path: project(layer, sides_of(layer).whole(), self.basis, self.axes) for path, layer in layers.items()}
        if self.keep == 1:
            return new
        shares = {
            path: layer.coefficients.detach().square() / layer.coefficients.detach().square().sum().clamp_min(1e-30)
            for path, layer in new.items()
        }
        if self.budget == "global":
            everywhere = highest(torch.cat([share.flatten() for share in shares.values()]), self.keep)
            parts = everywhere.split([share.numel() for share in shares.values()])
            kept = {path: part.view_as(shares[path]) for path, part in zip(shares, parts, strict=True)}
        else:
            kept = {path: highest(share, self.keep) for path, share in shares.items()}
        for path, layer in new.items():
            one = highest(shares[path], 0)  # of each layer at least
            constrain(layer, "coefficients", Mask.of(kept[path] | one))
        return new


_OF_COEFFICIENTS = ("keep", "calibration", "axes", "shape", "budget")  # options


@dataclass(frozen=True)
class Wave(Spectral, ABC):
    """A spectral method whose basis functions are of any frequency, so that frequencies can be what is trained.

    train: coefficients, or the frequencies of linear layers: rows are waves, of which two numbers each are stored, the
        frequency and the bias. `keep`, `calibration`, `axes`, `shape` and `budget` then say nothing.
    """

    train: Literal["coefficients", "frequencies"] = "coefficients"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train not in ("coefficients", "frequencies"):
            raise ValueError(f"train must be coefficients or frequencies, got {self.train!r}")
        if self.train == "frequencies":
            for one in fields(self):
                if one.name in _OF_COEFFICIENTS and getattr(self, one.name) != one.default:
                    raise ValueError(f"{one.name} says nothing with train=frequencies, which stores two numbers a row "
                                     f"of a linear layer: leave it out")  # fmt: skip

    @property
    def strength(self) -> Strength | None:  # type: ignore[override]
        """That of coefficients; two numbers a row of a layer are neither more nor fewer."""
        return LayerReplacement.strength if self.train == "coefficients" else None

    @property
    def fits(self) -> bool:
        return super().fits and self.train == "coefficients"

    def shrinks(self, layer: nn.Module) -> bool:
        if self.train == "coefficients":
            return super().shrinks(layer)
        return isinstance(layer, nn.Linear) and layer.in_features > 1

    @property
    def why_none(self) -> str:
        if self.train == "coefficients":
            return super().why_none
        return f"train=frequencies is for linear layers of two inputs or more, and layers={self.layers} has none here"

    def new_layers(self, layers: Mapping[str, nn.Module], task: Task) -> dict[str, nn.Module]:
        if self.train == "coefficients":
            return super().new_layers(layers, task)
        new: dict[str, nn.Module] = {}
        for path, layer in layers.items():
            assert isinstance(layer, nn.Linear)
            new[path] = waves = FrequencyLinear.of(layer, "dst" if self.basis == "dst" else "dct")
            if self.init == "scratch":
                waves.spread()
        return new

    def trained(self, model: GraphModule, layers: Mapping[str, nn.Module], task: Task) -> GraphModule:
        if self.train == "coefficients":
            return super().trained(model, layers, task)
        return task.finetune(model, full=self.recipe == "full" or (self.recipe == "auto" and self.init == "scratch"))


@dataclass(frozen=True)
class DCT(Wave):
    """Coefficients of the type-II discrete cosine transform (Ahmed, Natarajan, Rao 1974)."""

    basis = "dct"


@dataclass(frozen=True)
class DST(Wave):
    """Coefficients of the type-II discrete sine transform (Martucci 1994): no constant function among them."""

    basis = "dst"
    variants = ()  # in all studies alike to `dct`


@dataclass(frozen=True)
class DFT(Spectral):
    """Coefficients of the Fourier transform of real signals, packed so that all of them are real: cosines and sines."""

    basis = "dft"
    variants = ()


@dataclass(frozen=True)
class Wavelet(Spectral):
    """Coefficients of a periodised orthonormal wavelet basis (methods/layers/wavelets.py), coarse scales first.

    family: haar, db2, db4, sym4 or coif1.
    """

    family: Literal["haar", "db2", "db4", "sym4", "coif1"] = "db2"
    variants = ()

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
    variants = ()


@dataclass(frozen=True)
class RandomBasis(Spectral):
    """The control: the same layers in a random orthonormal basis, which knows nothing of frequency.

    draw: which random basis.
    """

    draw: int = 0
    variants = ()  # a control

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.draw < 2**32:
            raise ValueError(f"draw must be in [0, 2^32), got {self.draw}: it seeds the random basis")

    @property
    def basis(self) -> str:
        return f"random:{self.draw}"
