"""Low-rank layers: a weight becomes a product of two thin ones, by the singular value decomposition.

Idea     W [out, in taps] = B A with A [r, in taps] and B [out, r]. A convolution becomes one of r outputs with the same
         taps, stride and padding, and a 1 x 1 convolution after it; a linear layer becomes two. r is the largest for
         which A and B hold at most the fraction `keep` of W's numbers.
Source   truncated SVD is nearest in L2 (Eckart, Young 1936); for layers: Denton et al. 2014, arXiv 1404.0736, section
         3; fitted to the dense layer's outputs by reduced-rank regression (Izenman 1975).
Stored   two ordinary layers: every later stage, codec and runtime knows them.
Cost     an SVD and a least-squares fit of each layer, then fine-tuning.
Fails    layers whose singular values fall slowly; small layers, where one rank already holds much of the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.utils import skip_init  # an ordinary layer draws its weights from the global generator

from methods.base import Task
from methods.graph import replace_module
from methods.reconstruction import Moments
from methods.replacement import LayerReplacement, channels

_AT_A_TIME = 32  # images whose patches are held at once
_SECOND = "_up"  # added to a layer's path: where its second factor lies


@dataclass(frozen=True)
class LowRank(LayerReplacement):
    """Two thin layers in place of each: the peer of the spectral methods, which fix a basis where this one learns it.

    keep: fraction of the numbers of each weight that its two factors hold, in (0, 1].
    calibration: training images that the factors are fitted on before fine-tuning; 0 leaves them as by the SVD.
    layers: factorise convolutions, linear layers or both.
    skip: layers to leave alone: `first`, `last`, names with * and ?, a space between.
    """

    def shrinks(self, layer: nn.Module) -> bool:
        """Whether two factors of rank one at least hold fewer numbers than the weight."""
        height, width = _sides(layer)
        return rank(height, width, self.keep) * (height + width) < height * width

    def new_layers(self, layers: Mapping[str, nn.Module], task: Task) -> dict[str, nn.Module]:
        return {path: factorised(layer, self.keep) for path, layer in layers.items()}

    def fit(self, new: nn.Module, x: Tensor, y: Tensor) -> None:
        assert isinstance(new, nn.Sequential)
        _fit(new, x, y)

    def put(self, model: GraphModule, path: str, new: nn.Module) -> None:
        first, second = new.children()
        replace_module(model, path, first)
        model.add_submodule(path + _SECOND, second)
        for node in [node for node in model.graph.nodes if node.op == "call_module" and node.target == path]:
            with model.graph.inserting_after(node):
                after = model.graph.call_module(path + _SECOND, (node,))
            node.replace_all_uses_with(after, delete_user_cb=lambda user, after=after: user is not after)
        model.recompile()


@torch.no_grad()
def factorised(layer: nn.Module, keep: float) -> nn.Sequential:
    """The two layers of at most the fraction `keep` of the numbers of `layer`'s weight that are nearest to it in L2."""
    new = thin(layer, rank(*_sides(layer), keep))
    groups = getattr(layer, "groups", 1)
    assert isinstance(layer.weight, Tensor)
    _set(new, [_by_svd(one, new) for one in layer.weight.flatten(1).chunk(groups)])
    if layer.bias is not None:
        new[1].bias.copy_(layer.bias)  # type: ignore[operator, union-attr, arg-type]
    return new


def rank(height: int, width: int, keep: float) -> int:
    """The largest rank, but one at least, of which the factors of a [height, width] weight hold the fraction `keep`."""
    return max(1, int(keep * height * width / (height + width) + 1e-9))


def thin(layer: nn.Module, rank: int) -> nn.Sequential:
    """The two layers that compute what `layer` does with a weight of that rank, a group each; not initialised."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if isinstance(layer, nn.Linear):
        first: nn.Module = skip_init(nn.Linear, layer.in_features, rank, bias=False)
        second: nn.Module = skip_init(nn.Linear, rank, layer.out_features, bias=layer.bias is not None)
    else:
        assert isinstance(layer, nn.Conv2d)
        inner, groups = rank * layer.groups, layer.groups
        shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        more = {"groups": groups, "bias": False, "padding_mode": layer.padding_mode}
        first = skip_init(nn.Conv2d, layer.in_channels, inner, *shape, **more)
        second = skip_init(nn.Conv2d, inner, layer.out_channels, 1, groups=groups, bias=layer.bias is not None)
    return nn.Sequential(first, second).to(weight.device, weight.dtype)


def _sides(layer: nn.Module) -> tuple[int, int]:
    """Rows and columns of the weight of one group as a matrix."""
    height, width = channels(layer)
    assert isinstance(layer.weight, Tensor)
    return height, width * layer.weight[0, 0].numel()


def _by_svd(weight: Tensor, new: nn.Module) -> tuple[Tensor, Tensor]:
    """A [r, width] and B [height, r] of the nearest product, the singular values shared evenly."""
    u, values, v = torch.linalg.svd(weight.double(), full_matrices=False)
    inner = _rank_of(new)
    root = values[:inner].sqrt()
    return root[:, None] * v[:inner], u[:, :inner] * root


def _rank_of(new: nn.Module) -> int:
    assert isinstance(new, nn.Sequential)
    return new[1].weight.shape[1]  # type: ignore[index, union-attr, return-value]


def _set(new: nn.Sequential, factors: list[tuple[Tensor, Tensor]]) -> None:
    for layer, matrices in zip(new, zip(*factors, strict=True), strict=True):
        assert isinstance(layer.weight, Tensor)
        layer.weight.copy_(torch.cat(matrices).reshape(layer.weight.shape))


def _fit(new: nn.Sequential, x: Tensor, y: Tensor) -> None:
    """Reduced-rank regression: the least-squares weight, then the outputs' subspace in which its values vary most."""
    first, second = new
    groups, factors = getattr(first, "groups", 1), []
    for group in range(groups):
        moments = Moments(centred=second.bias is not None)
        for inputs, outputs in zip(x.split(_AT_A_TIME), y.split(_AT_A_TIME), strict=True):
            moments.add(_patches(first, inputs, group, groups), _values(first, outputs, group, groups))
        start = (_part(second, group, groups) @ _part(first, group, groups)).T.double()
        fitted = moments.solve(start)  # [width, height]
        _, vectors = torch.linalg.eigh(fitted.T @ moments.centred_gram() @ fitted)
        outer = vectors.flip(1)[:, : _rank_of(new)]  # [height, r]
        factors.append(_balanced(outer.T @ fitted.T, outer))
    _set(new, factors)
    if second.bias is not None:
        assert isinstance(second.bias, Tensor)
        axes = [axis for axis in range(y.ndim) if axis != (1 if isinstance(first, nn.Conv2d) else y.ndim - 1)]
        second.bias.add_((y - new(x)).mean(axes))


def _balanced(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The same product with both factors of equal norm, which suits training."""
    share = (second.norm() / first.norm().clamp_min(1e-30)).sqrt()
    return first * share, second / share


def _part(layer: nn.Module, group: int, groups: int) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight.flatten(1).chunk(groups)[group]


def _patches(first: nn.Module, x: Tensor, group: int, groups: int) -> Tensor:
    """What the group's weight is multiplied with: [rows, width]."""
    if not isinstance(first, nn.Conv2d):
        return x.reshape(-1, x.shape[-1])
    mode = "constant" if first.padding_mode == "zeros" else first.padding_mode
    x = F.pad(x.chunk(groups, 1)[group], first._reversed_padding_repeated_twice, mode=mode)
    patches = F.unfold(x, first.kernel_size, first.dilation, 0, first.stride)  # type: ignore[arg-type]
    return patches.transpose(1, 2).reshape(-1, patches.shape[1])


def _values(first: nn.Module, y: Tensor, group: int, groups: int) -> Tensor:
    """The group's outputs, [rows, height]."""
    if not isinstance(first, nn.Conv2d):
        return y.reshape(-1, y.shape[-1])
    return y.chunk(groups, 1)[group].flatten(2).transpose(1, 2).reshape(-1, y.shape[1] // groups)
