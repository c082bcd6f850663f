"""Spectral layers in a form that int8 kernels run: transform, coefficients, transform, each a layer of the graph.

A spectral layer computes C_out^T (S (C_in x)) in one module, between whose steps no quantiser can be placed. Where that
factored path is the cheap one for the shapes that the network sees, the layer is expanded: S becomes the weight of an
ordinary convolution or linear layer, under the constraints it had, and the bases `BasisTransform`s, rounded by a fixed
rule. The cheap one is that of fewest multiply-accumulates, since int8 runtimes pack weights beforehand. Other spectral
layers stay: their coefficients are rounded and they compute in float32. So do triangles and transformed taps: what
stands between their channel transforms is larger than what is stored, and a file would have to hold it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from methods.graph import modules_called, replace_module
from methods.layers import (
    BasisTransform,
    LayerScope,
    SpectralConv2d,
    SpectralLinear,
    constrain,
    constraints,
    original,
)
from methods.layers.transform import Domain
from methods.layers.watching import watching

_BATCH = 32  # images at a time that the choice of a path assumes


def expand(model: GraphModule, images: Iterable[Tensor], layers: LayerScope, bits: int | None) -> GraphModule:
    """Expands, in place, the spectral layers whose factored path is the cheap one; outputs stay, to rounding.

    images: batches [n, c, h, w] that show the shapes; only looked at where there are spectral layers.
    layers: which family is expanded. bits: of the transforms' codes; None leaves them as they are.
    """
    spectral = [
        layer
        for layer in dict.fromkeys(modules_called(model).values())
        if isinstance(layer, SpectralLinear | SpectralConv2d) and layers in ("all", layer.scope)
    ]
    if not spectral:
        return model
    seen: dict[SpectralLinear | SpectralConv2d, set[str]] = {layer: set() for layer in spectral}
    with watching(spectral, lambda layer, x: seen[layer].add(_way(layer, x))), torch.no_grad():
        for batch in images:
            model(batch)
    for layer, routes in seen.items():
        if routes == {"factored"} and _stores_its_core(layer) and _pads_with_zeros(layer):
            nodes = [node for node in model.graph.nodes if node.op == "call_module"]
            _put(model, [node for node in nodes if model.get_submodule(node.target) is layer], factors(layer, bits))
    model.delete_all_unused_submodules()
    model.graph.lint()
    model.recompile()
    return model


def factors(
    layer: SpectralLinear | SpectralConv2d, bits: int | None
) -> tuple[BasisTransform, nn.Conv2d | nn.Linear, BasisTransform]:
    """The three layers that compute what a spectral layer does; they take over its parameters."""
    domain: Domain = "linear" if isinstance(layer, SpectralLinear) else "conv"
    groups = 1 if isinstance(layer, SpectralLinear) else layer.groups
    (rows_in, inputs), (rows_out, outputs) = layer.in_basis.shape, layer.out_basis.shape
    kind, stored = layer.basis_kind, original(layer, "coefficients")
    inward = BasisTransform(domain, kind, inputs, rows_in, "inward", groups, bits)
    outward = BasisTransform(domain, kind, outputs, rows_out, "outward", groups, bits)
    for transform in (inward, outward):
        transform.to(stored.device, stored.dtype)
    outward.bias = layer.bias
    return inward, _coefficients(layer), outward


def _coefficients(layer: SpectralLinear | SpectralConv2d) -> nn.Conv2d | nn.Linear:
    """The layer in the middle; it has no bias. Made without storage, which draws no random numbers."""
    stored = original(layer, "coefficients")
    core: nn.Conv2d | nn.Linear
    if isinstance(layer, SpectralLinear):
        core = nn.Linear(stored.shape[1], stored.shape[0], bias=False, device="meta")
    else:
        core = nn.Conv2d(
            layer.groups * stored.shape[1], stored.shape[0], layer.kernel_size, layer.stride, layer.padding,
            layer.dilation, layer.groups, bias=False, device="meta",
        )  # fmt: skip
    core.weight = stored
    for constraint in constraints(layer, "coefficients"):
        constrain(core, "weight", constraint)
    return core


def _stores_its_core(layer: SpectralLinear | SpectralConv2d) -> bool:
    """Whether the coefficients are what stands between the channel transforms, with no tap transformed and no triangle:
    what is computed from them would not be what is stored."""
    return layer.box.is_rectangle if isinstance(layer, SpectralLinear) else layer.stores_its_kernel


def _pads_with_zeros(layer: nn.Module) -> bool:
    """Int8 kernels pad with nothing else."""
    return not isinstance(layer, SpectralConv2d) or layer.padding_mode == "zeros"


def _way(layer: SpectralLinear | SpectralConv2d, x: Tensor) -> str:
    """The path of `layer` where it is deployed, for inputs like x in batches of `_BATCH`; one that a fast transform
    serves better in float is not worth three products in int8."""
    shape = (_BATCH, *x.shape[1:])
    return "fast" if layer.path(shape) == "fast" else layer.deployed_path(shape)


def _put(model: GraphModule, nodes: list[fx.Node], parts: tuple[nn.Module, ...]) -> None:
    """Has `nodes`, the calls of one layer, call its parts one after the other; they lie where it lay."""
    path, names = str(nodes[0].target), ("inward", "coefficients", "outward")
    container = nn.Module()
    for name, part in zip(names, parts, strict=True):
        container.add_module(name, part.train(model.training))
    replace_module(model, path, container)
    for node in nodes:
        value: fx.Node = node.all_input_nodes[0]
        with model.graph.inserting_before(node):
            for name in names:
                value = model.graph.call_module(f"{path}.{name}", (value,))
        node.replace_all_uses_with(value)
        model.graph.erase_node(node)
