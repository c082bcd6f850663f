"""Fitting spectral layers to what the dense network computes, by least squares on a few training images.

Idea     truncation keeps the coefficients; better ones for the data at hand minimise E |y - (C_out^T S C_in x' + b)|^2,
         with y the dense layer's output and x' the input that the layer gets in the compressed network, whose earlier
         layers were fitted before. That is a linear regression of C_out y on the taps of C_in x'.
Source   layer-wise reconstruction as in He, Zhang, Sun 2017, arXiv 1707.06168, section 3.1 (there for channels).
Cost     one forward pass of both networks and one linear system a layer, of its inputs' coefficients times taps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.graph import replace_module
from methods.layers import SpectralConv2d, SpectralLinear

SpectralLayer = SpectralLinear | SpectralConv2d
Fit = Callable[[nn.Module, Tensor, Tensor], None]
_RIDGE = 1e-2  # of the mean variance of a regressor: what the images do not show stays as it was projected
_NOISE = 1e-6  # of its mean square: rounding of sums over a regressor that hardly varies is no signal
_AT_A_TIME = 32  # images whose patches are held at once


class _Fitting(nn.Module):
    """Stands at a layer's place for one pass over [dense network's values; compressed network's values], 2n images."""

    def __init__(self, dense: nn.Module, new: nn.Module, fit: Fit) -> None:
        super().__init__()
        self.dense, self.new, self.fit, self.fitted = dense, new, fit, False

    def forward(self, values: Tensor) -> Tensor:
        ours, theirs = values.chunk(2)
        y = self.dense(ours)
        if not self.fitted:  # a layer that is called twice is fitted where it is called first
            self.fit(self.new, theirs, y)
            self.fitted = True
        return torch.cat([y, self.new(theirs)])


@torch.no_grad()
def reconstruct(model: GraphModule, layers: Mapping[str, nn.Module], images: Tensor, fit: Fit) -> None:
    """Fits `layers`, in the order of the network, each to the output of the one at its path in `model`, given what the
    layers fitted before it make of the images. `model` is left as it was.

    The model is in eval mode; images: [n, c, h, w], run as one batch of 2n. fit: (new layer, its inputs, the dense
    layer's outputs); changes the layer.
    """
    dense = {path: model.get_submodule(path) for path in layers}
    for path, layer in layers.items():
        replace_module(model, path, _Fitting(dense[path], layer, fit))
    model(torch.cat([images, images]))
    for path, layer in dense.items():
        replace_module(model, path, layer)


def fit(layer: SpectralLayer, x: Tensor, y: Tensor) -> None:
    """Sets the coefficients, and the bias if there is one, so that layer(x) is nearest to y in L2, up to the ridge."""
    groups = layer.groups if isinstance(layer, SpectralConv2d) else 1
    start = layer.coefficients.reshape(groups, len(layer.out_basis), -1).clone()  # [g, keep_out, keep_in * taps]
    for group in range(groups):
        moments = Moments(centred=layer.bias is not None)
        for inputs, outputs in zip(x.split(_AT_A_TIME), y.split(_AT_A_TIME), strict=True):
            moments.add(_regressors(layer, inputs, group), _targets(layer, outputs, group))
        start[group] = moments.solve(start[group].T.double()).T.to(start.dtype)
    layer.coefficients.copy_(start.reshape(layer.coefficients.shape))
    if layer.bias is not None:
        residual = y - layer(x)
        channels = [axis for axis in range(y.ndim) if axis != (1 if isinstance(layer, SpectralConv2d) else y.ndim - 1)]
        layer.bias.add_(residual.mean(channels))


class Moments:
    """Second moments of regressors [rows, taps] and targets [rows, outputs], summed in float64.

    centred: about their means, which are those of a bias to take; else about zero.
    """

    def __init__(self, centred: bool) -> None:
        self.centred, self.rows, self.square = centred, 0, 0.0
        self.shifts: tuple[Tensor, Tensor] | None = None  # near the means, so that no digits are lost to them
        self.sums: list[Tensor] = []  # of regressors [taps] and targets [outputs]
        self.products: list[Tensor] = []  # regressors with themselves [taps, taps] and with targets [taps, outputs]

    def add(self, regressors: Tensor, targets: Tensor) -> None:
        self.rows += len(regressors)
        self.square += float(regressors.square().sum()) / regressors.shape[1]
        if self.centred:
            self.shifts = self.shifts or (regressors.mean(0), targets.mean(0))
            regressors, targets = regressors - self.shifts[0], targets - self.shifts[1]
        sums = [regressors.sum(0).double(), targets.sum(0).double()]
        products = [(regressors.T @ regressors).double(), (regressors.T @ targets).double()]
        self.sums = [old + new for old, new in zip(self.sums, sums, strict=True)] if self.sums else sums
        self.products = [a + b for a, b in zip(self.products, products, strict=True)] if self.products else products

    def centred_gram(self) -> Tensor:
        """Products of regressors with themselves [taps, taps], about their means where these are taken off."""
        gram = self.products[0]
        return gram - self.sums[0][:, None] / self.rows * self.sums[0] if self.centred else gram

    def solve(self, start: Tensor) -> Tensor:
        """The weights [taps, outputs] of least squared error plus ridge * |weights - start|^2."""
        gram, cross = self.centred_gram(), self.products[1]
        if self.centred:
            cross = cross - self.sums[0][:, None] / self.rows * self.sums[1]
        ridge = _RIDGE * gram.diagonal().mean() + _NOISE * self.square
        if not ridge > 0:
            return start
        damped = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        return start + torch.linalg.solve(damped, cross - gram @ start)


def _regressors(layer: SpectralLayer, x: Tensor, group: int) -> Tensor:
    """What the group's coefficients are multiplied with: [rows, keep_in * taps]."""
    width = layer.in_basis.shape[1]
    if isinstance(layer, SpectralLinear):
        return F.linear(x, layer.in_basis).reshape(-1, layer.in_basis.shape[0])
    x = F.conv2d(x[:, group * width : (group + 1) * width], layer.in_basis[:, :, None, None])
    patches = F.unfold(layer.padded(x), layer.kernel_size, layer.dilation, 0, layer.stride)  # [n, taps, places]
    return patches.transpose(1, 2).reshape(-1, patches.shape[1])


def _targets(layer: SpectralLayer, y: Tensor, group: int) -> Tensor:
    """The group's outputs in the basis, [rows, keep_out]; its bias is left in."""
    height = layer.out_basis.shape[1]
    if isinstance(layer, SpectralLinear):
        return F.linear(y, layer.out_basis).reshape(-1, layer.out_basis.shape[0])
    y = F.conv2d(y[:, group * height : (group + 1) * height], layer.out_basis[:, :, None, None])
    return y.flatten(2).transpose(1, 2).reshape(-1, y.shape[1])
