"""Biases that take up what rounding does to the mean of a layer's outputs (Nagel et al. 2019, arXiv 1906.04721, section
4.2, in its empirical form: the means are seen on images, not derived from batch norms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.layers import BasisTransform, CompressedLayer, constraints, kind_of

_Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


@torch.no_grad()
def correct_biases(model: GraphModule, reference: GraphModule, images: Iterable[Tensor]) -> GraphModule:
    """Moves, in place, the biases of `model` so that each layer's mean outputs are those of `reference`.

    reference: the network before rounding, its layers at the same paths. images: batches [n, c, h, w]; they go through
    each network once, all together, since a layer's correction has to see those of the layers before it.
    Layers that are called more than once are left as they are.
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
            if layer.bias is None:
                layer.bias = nn.Parameter(torch.zeros_like(missing))
            layer.bias.add_(missing)  # type: ignore[operator]
            return out + (missing[:, None, None] if _is_conv(layer) else missing)

        return hook

    for network, hook_for in ((reference, see), (model, correct)):
        with ExitStack() as hooks:
            for path in paths:
                handle = network.get_submodule(path).register_forward_hook(hook_for(path))
                hooks.callback(handle.remove)
            network.eval()(batch)
    return model


def _correctable(model: GraphModule) -> list[str]:
    """Paths of the layers that multiply, have room for a bias of their own, and are called once."""
    calls = [node.target for node in model.graph.nodes if node.op == "call_module"]
    called = [model.get_submodule(path) for path in calls]
    return [
        path
        for path, layer in zip(calls, called, strict=True)
        if _multiplies(layer) and sum(layer is other for other in called) == 1 and not constraints(layer, "bias")
    ]


def _multiplies(layer: nn.Module) -> bool:
    if isinstance(layer, CompressedLayer):
        return layer.scope != "none" or isinstance(layer, BasisTransform)
    return kind_of(layer) in ("Conv2d", "Linear")


def _is_conv(layer: nn.Module) -> bool:
    if isinstance(layer, BasisTransform):
        return layer.domain == "conv"
    return layer.scope == "conv" if isinstance(layer, CompressedLayer) else kind_of(layer) == "Conv2d"


def _channel_means(layer: nn.Module, out: Tensor) -> Tensor:
    """[n, out, h, w] or [..., out] -> [out]."""
    return out.mean((0, 2, 3)) if _is_conv(layer) else out.reshape(-1, out.shape[-1]).mean(0)
