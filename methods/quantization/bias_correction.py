"""Biases that take up what rounding does to the mean of a layer's outputs (Nagel et al. 2019, arXiv 1906.04721, section
4.2, in its empirical form: the means are seen on images, not derived from batch norms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.layers import BasisTransform, CompressedLayer, constraints, kind_of

_CHANNELS: dict[str | None, Literal["conv", "linear"]] = {"Conv2d": "conv", "BatchNorm2d": "conv", "Linear": "linear"}
_Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


@torch.no_grad()
def correct_biases(model: GraphModule, reference: GraphModule, images: Iterable[Tensor]) -> GraphModule:
    """Moves, in place, the biases of `model` so that each layer's mean outputs are those of `reference`.

    reference: the network before rounding, its layers at the same paths. images: batches [n, c, h, w]; they go through
    each network once, all together, since a layer's correction has to see those of the layers before it.
    Batch norms that do not fold are among the layers. Those without a bias, or called more than once, are left as they
    are: what they shift, the next one takes up.
    """
    batch = torch.cat(list(images))
    paths = _correctable(model)
    means: dict[str, Tensor] = {}

    def see(path: str) -> _Hook:
        def hook(layer: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> None:
            means[path] = _channel_means(layer, out)

        return hook

    def correct(path: str) -> _Hook:
        def hook(layer: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
            missing = means[path] - _channel_means(layer, out)  # [out]
            layer.bias.add_(missing)  # type: ignore[operator]
            return out + (missing[:, None, None] if _of_channels(layer) == "conv" else missing)

        return hook

    for network, hook_for in ((reference, see), (model, correct)):
        with ExitStack() as hooks:
            for path in paths:
                handle = network.get_submodule(path).register_forward_hook(hook_for(path))
                hooks.callback(handle.remove)
            network.eval()(batch)
    return model


def _correctable(model: GraphModule) -> list[str]:
    """Paths of the layers that have a bias for each channel, to be moved, and are called once."""
    calls = [node.target for node in model.graph.nodes if node.op == "call_module"]
    called = [model.get_submodule(path) for path in calls]
    return [
        path
        for path, layer in zip(calls, called, strict=True)
        if _of_channels(layer) is not None
        and isinstance(layer.bias, nn.Parameter)
        and sum(layer is other for other in called) == 1
        and not constraints(layer, "bias")
    ]


def _of_channels(layer: nn.Module) -> Literal["conv", "linear"] | None:
    """Where the outputs of a layer have their channels: [n, c, h, w] or [..., c]; None if it is no such layer."""
    if isinstance(layer, BasisTransform):
        return layer.domain
    if isinstance(layer, CompressedLayer):
        return None if layer.scope == "none" else layer.scope
    return _CHANNELS.get(kind_of(layer))


def _channel_means(layer: nn.Module, out: Tensor) -> Tensor:
    """[n, out, h, w] or [..., out] -> [out]."""
    return out.mean((0, 2, 3)) if _of_channels(layer) == "conv" else out.reshape(-1, out.shape[-1]).mean(0)
