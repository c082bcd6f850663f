"""From a dense layer to the spectral layer that takes its place: projected, or drawn at random."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from methods.allocation import Axes, Sides
from methods.layers import SpectralConv2d, SpectralLinear
from methods.layers.packing import Box
from methods.reconstruction import SpectralLayer
from methods.replacement import channels
from methods.selection import smallest

_HE_GAIN = 2.0  # a rectifier halves the second moment of what passes (He et al. 2015, arXiv 1502.01852, section 2.2)


def sides_of(layer: nn.Module) -> Sides:
    """The sides of the weight of one group."""
    return Sides(*channels(layer), (layer.kernel_size[0], layer.kernel_size[1]) if isinstance(layer, nn.Conv2d) else ())


def project(layer: nn.Module, box: Box, basis: str, axes: Axes) -> SpectralLayer:
    """The spectral layer nearest to `layer` in L2 of those that keep `box`."""
    if isinstance(layer, nn.Linear):
        return SpectralLinear.of(layer, box.inputs, box.outputs, basis, box.diagonal)
    assert isinstance(layer, nn.Conv2d)
    taps = None if axes == "channels" else box.taps
    return SpectralConv2d.of(
        layer, box.inputs, box.outputs, basis, axes != "spatial", taps, box.diagonal, box.tap_diagonal
    )


@torch.no_grad()
def draw(layer: nn.Module, generator: torch.Generator) -> None:
    """Normal coefficients of which white inputs of variance one make outputs of variance two, which a rectifier halves:
    the variance is gain * outputs / coefficients, of one group. The bias becomes zero."""
    assert isinstance(layer, SpectralLinear | SpectralConv2d)
    outputs = layer.out_features if isinstance(layer, SpectralLinear) else layer.out_channels // layer.groups
    std = math.sqrt(_HE_GAIN * outputs / layer.box.count)
    layer.coefficients.copy_(torch.randn(layer.coefficients.shape, generator=generator) * std)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def keep_variance(layer: nn.Module, x: Tensor) -> None:
    """Scales the coefficients so that the outputs for `x` have twice its mean square, which a rectifier halves.

    Activations are not white: their mean, and what earlier layers made smooth, lies in the low frequencies that are
    kept (layer-sequential scaling as in Mishkin, Matas 2016, arXiv 1511.06422)."""
    assert isinstance(layer, SpectralLinear | SpectralConv2d)
    found, wanted = layer(x).square().mean(), _HE_GAIN * x.square().mean()
    if found > 0:
        layer.coefficients.mul_((wanted / found).sqrt())


def kept_fraction(layer: nn.Module) -> float:
    """Coefficients kept over weights replaced."""
    assert isinstance(layer, SpectralLinear | SpectralConv2d)
    if isinstance(layer, SpectralLinear):
        return layer.box.count / (layer.in_features * layer.out_features)
    taps = math.prod(layer.kernel_size)
    return layer.box.count * layer.groups**2 / (layer.in_channels * layer.out_channels * taps)


def highest(scores: Tensor, keep: float) -> Tensor:
    """A mask on the fraction `keep` of the scores that are highest, at least one; of equal ones the first are taken."""
    count = max(1, math.floor(keep * scores.numel() + 1e-9))
    return smallest(-scores.flatten(), count).view(scores.shape)
