"""Fitting spectral layers to what the dense network computes, by least squares on a few training images.

Idea     truncation keeps the coefficients; better ones for the data at hand minimise E |y - (C_out^T S C_in x' + b)|^2,
         with y the dense layer's output and x' the input that the layer gets in the compressed network, whose earlier
         layers were fitted before. That is a linear regression of C_out y on the taps of C_in x'.
Source   layer-wise reconstruction as in He, Zhang, Sun 2017, arXiv 1707.06168, section 3.1 (there for channels).
Cost     one forward pass of both networks and one linear system a layer, of its inputs' coefficients times taps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.graph import replace_module
from methods.layers import Mask, SpectralConv2d, SpectralLinear, constraints

SpectralLayer = SpectralLinear | SpectralConv2d
Fit = Callable[[nn.Module, Tensor, Tensor], None]
_RIDGE = 1e-2  # of the mean variance of a regressor: what the images do not show stays as it was projected
_NOISE = 1e-6  # of its mean square: rounding of sums over a regressor that hardly varies is no signal
_SOLVED, _MOST_STEPS = 1e-5, 300  # of conjugate gradients: share of the first residual to get down to, and steps
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


@torch.no_grad()
def fit(layer: SpectralLayer, x: Tensor, y: Tensor) -> None:
    """Sets the coefficients, and the bias if there is one, so that layer(x) is nearest to y in L2, up to the ridge."""
    groups = layer.groups if isinstance(layer, SpectralConv2d) else 1
    spectrum, kept = layer.spectrum().detach().clone(), _kept(layer, groups)
    parts = spectrum.reshape(groups, layer.box.outputs, -1)  # [g, keep_out, keep_in * kept taps], the same memory
    for group in range(groups):
        moments = Moments(centred=layer.bias is not None)
        for inputs, outputs in zip(x.split(_AT_A_TIME), y.split(_AT_A_TIME), strict=True):
            moments.add(_regressors(layer, inputs, group), _targets(layer, outputs, group))
        solved = moments.solve(parts[group].T.double(), None if kept is None else kept[group].T)
        parts[group] = solved.T.to(parts.dtype)
    layer.set_spectrum(spectrum)
    if layer.bias is not None:
        residual = y - layer(x)
        channels = [axis for axis in range(y.ndim) if axis != (1 if isinstance(layer, SpectralConv2d) else y.ndim - 1)]
        layer.bias.add_(residual.mean(channels))


def _kept(layer: SpectralLayer, groups: int) -> Tensor | None:
    """What of the spectrum may differ from zero, bool [g, keep_out, keep_in * kept taps]; None for all."""
    masks = [one.keep for one in constraints(layer, "coefficients") if isinstance(one, Mask)]
    if masks:
        return masks[0].reshape(groups, layer.box.outputs, -1)
    if layer.box.is_rectangle:
        return None
    support = torch.from_numpy(layer.box.support()).to(layer.coefficients.device)
    return support.reshape(1, layer.box.outputs, -1).expand(groups, -1, -1)


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

    def solve(self, start: Tensor, kept: Tensor | None = None) -> Tensor:
        """The weights [taps, outputs] of least squared error plus ridge * |weights - start|^2.

        kept: bool [taps, outputs]; the others stay as they are in `start`. None: all are free.
        """
        gram, cross = self.centred_gram(), self.products[1]
        if self.centred:
            cross = cross - self.sums[0][:, None] / self.rows * self.sums[1]
        ridge = _RIDGE * gram.diagonal().mean() + _NOISE * self.square
        if not ridge > 0:
            return start
        damped = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        if kept is None:
            return start + torch.linalg.solve(damped, cross - gram @ start)
        return start + _conjugate_gradients(damped, kept * (cross - gram @ start), kept)


def _conjugate_gradients(matrix: Tensor, target: Tensor, kept: Tensor) -> Tensor:
    """For each column the x with matrix @ x = target where `kept`, zero elsewhere; matrix is positive definite.

    Preconditioned by the diagonal (Hestenes, Stiefel 1952). [n, n], [n, m], bool [n, m] -> [n, m]
    """
    x, residual = torch.zeros_like(target), target
    scaled = residual / matrix.diagonal()[:, None]
    direction, size = scaled, (residual * scaled).sum(0)
    goal = _SOLVED**2 * size
    for _ in range(_MOST_STEPS):
        if bool((size <= goal).all()):
            break
        image = kept * (matrix @ direction)
        step = size / (direction * image).sum(0).clamp_min(1e-300)
        x, residual = x + step * direction, residual - step * image
        scaled = residual / matrix.diagonal()[:, None]
        size, before = (residual * scaled).sum(0), size
        direction = scaled + size / before.clamp_min(1e-300) * direction
    return x


def _regressors(layer: SpectralLayer, x: Tensor, group: int) -> Tensor:
    """What the group's coefficients are multiplied with: [rows, keep_in * kept taps]."""
    if isinstance(layer, SpectralLinear):
        return F.linear(x, layer.in_basis).reshape(-1, layer.box.inputs)
    width = layer.in_channels // layer.groups
    x = x[:, group * width : (group + 1) * width]
    if layer.channels:
        x = F.conv2d(x, layer.in_basis[:, :, None, None])
    patches = F.unfold(layer.padded(x), layer.kernel_size, layer.dilation, 0, layer.stride)  # [n, taps, places]
    patches = patches.transpose(1, 2).reshape(-1, layer.box.inputs, math.prod(layer.kernel_size))
    tap_basis = layer.tap_basis()
    return (patches if tap_basis is None else patches @ tap_basis.T).flatten(1)


def _targets(layer: SpectralLayer, y: Tensor, group: int) -> Tensor:
    """The group's outputs in the basis, [rows, keep_out]; its bias is left in."""
    if isinstance(layer, SpectralLinear):
        return F.linear(y, layer.out_basis).reshape(-1, layer.box.outputs)
    height = layer.out_channels // layer.groups
    y = y[:, group * height : (group + 1) * height]
    if layer.channels:
        y = F.conv2d(y, layer.out_basis[:, :, None, None])
    return y.flatten(2).transpose(1, 2).reshape(-1, layer.box.outputs)
