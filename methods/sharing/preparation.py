"""What the methods of this family share: which networks they take, and the stored form of all but the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.folding import fold_batch_norms
from methods.graph import modules_called, replace_module
from methods.layers import (
    ChannelAffine,
    Codebook,
    Constraint,
    Halve,
    LayerScope,
    Mask,
    WeightQuantizer,
    constrain,
    constraints,
    original,
    release,
    weights,
)
from methods.layers.codebooks import narrowest
from methods.quantization.preparation import bits_of_layers
from methods.quantization.preparation import why_not as why_not_quantized
from methods.sharing.kmeans import clustered

Vectors = Literal["float16", "shared", "float32"]
_SHARED_BITS = 5  # of a vector's codes
_ROW_BYTES = 40  # that naming one more tensor takes in a file, about


def check_lr_scale(lr_scale: float) -> None:
    """Raises ValueError for a factor that trains nothing."""
    if not 0 < lr_scale < math.inf:
        raise ValueError(f"lr_scale must be above 0 and finite, got {lr_scale}: pass a factor such as 0.5")


def why_not(model: GraphModule, layers: LayerScope) -> str | None:
    """The reason why the weights of `model` cannot be made to share values, or None."""
    if reason := why_not_quantized(model, layers):
        return reason
    for path, layer, name in weights(model, layers):
        if others := [one for one in constraints(layer, name) if not isinstance(one, Mask)]:
            return f"{path}.{name} is held by a {type(others[0]).__name__} already"
        if not bool(getattr(layer, name).isfinite().all()):
            return f"{path}.{name} holds values that are infinite or not numbers, which have no mean"
    return None


def hold_to_few(
    model: GraphModule,
    layers: LayerScope,
    bits: int,
    first_last_bits: int,
    make: Callable[[nn.Module, str], Constraint],
) -> None:
    """Constrains each stored tensor by what `make` returns for it, those of the first and last layer to the grid of
    their bits where these are more than `bits`."""
    named = dict(model.named_modules())
    for path, own in bits_of_layers(model, layers, bits, first_last_bits).items():
        for _, layer, name in list(weights(named[path])):
            constrain(layer, name, WeightQuantizer(own) if own > bits else make(layer, name))


def held_at_zero(layer: nn.Module, name: str) -> Tensor | None:
    """Which entries of the tensor a mask holds at zero, bool of its shape, or None where no entry is."""
    for one in constraints(layer, name):
        if isinstance(one, Mask) and not bool(one.keep.all()):
            return ~one.keep
    return None


def store(layer: nn.Module, name: str, codes: Tensor, reader: Constraint) -> None:
    """Puts uint8 codes in the place of tensor `name`, and `reader` to read them; constraints that were there go."""
    release(layer, name)
    setattr(layer, name, nn.Parameter(codes, requires_grad=False))
    constrain(layer, name, reader)


@torch.no_grad()
def finished(model: GraphModule, layers: LayerScope, vectors: Vectors) -> GraphModule:
    """Brings a trained network to its stored form, in place: batch norms are folded where weights allow it and leave a
    scale and a shift elsewhere, weights become codes, and vectors are stored as `vectors` says: biases of the layers of
    `layers`, and with all layers also those scales and shifts.

    Raises:
        ValueError: weights are not finite.
    """
    model = fold_batch_norms(model.eval())
    for path, layer, name in list(weights(model, layers)):
        if not bool(getattr(layer, name).isfinite().all()):
            raise ValueError(f"{path}.{name} is not finite after training with it: pass a smaller lr_scale")
        _code(layer, name)
    for path, layer in modules_called(model).items():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_mean is not None:
            replace_module(model, path, ChannelAffine.of(layer))
    model.recompile()
    for layer, name in list(_vectors(model, layers)):
        tensor = original(layer, name)
        if vectors == "shared" and _pays(tensor):
            _share(layer, name)
        elif vectors != "float32" and narrowest(tensor) == "fp16":
            constrain(layer, name, Halve("fp16"))
    return model.eval()


def _code(layer: nn.Module, name: str) -> None:
    """Puts the shipped form of a tensor whose last constraint makes codes in its place."""
    stored: Tensor = original(layer, name).detach()
    reader: Constraint | None = None
    for constraint in constraints(layer, name):
        stored, reader = constraint.shipped(stored)
    if reader is not None:
        store(layer, name, stored, reader)


def _vectors(model: GraphModule, layers: LayerScope) -> Iterator[tuple[nn.Module, str]]:
    seen: set[int] = set()
    for _, layer, _ in weights(model, layers):
        if isinstance(layer.bias, nn.Parameter) and not constraints(layer, "bias") and id(layer) not in seen:
            seen.add(id(layer))
            yield layer, "bias"
    for layer in model.modules():
        if layers == "all" and isinstance(layer, ChannelAffine):
            yield from ((layer, name) for name in ("scale", "shift") if not constraints(layer, name))


def _pays(tensor: Tensor) -> bool:
    """Whether codes and a table of float16 take fewer bytes than the float16 values."""
    return tensor.numel() * _SHARED_BITS / 8 + 2 * 2**_SHARED_BITS + _ROW_BYTES < 2 * tensor.numel()


def _share(layer: nn.Module, name: str) -> None:
    values = original(layer, name).detach()
    if not bool(values.isfinite().all()):
        return  # it would be hidden
    clusters = clustered(values.cpu(), 2**_SHARED_BITS, start="density")
    codes = (clusters.places(values.cpu()) + 1).to(torch.uint8)
    store(layer, name, codes.to(values.device), Codebook.of(clusters.centroids.float()).to(values.device))
