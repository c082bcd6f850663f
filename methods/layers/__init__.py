"""Layers that networks are made of. `LAYERS` and `CONSTRAINTS` are the tables of what a file may name.

A layer of torch.nn is described by its constructor's arguments, which it keeps as attributes. A layer of ours has
`config()`, the constructor's arguments in JSON types; everything else it needs is in its state dict or computed from
its configuration (a basis is made again, never stored).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from methods.layers.activations import ActivationQuantizer, DynamicQuantizer
from methods.layers.affine import ChannelAffine
from methods.layers.base import CompressedLayer, LayerScope
from methods.layers.codebooks import Codebook
from methods.layers.constraints import (
    Constraint,
    Mask,
    constrain,
    constrained_tensors,
    constraints,
    original,
    release,
)
from methods.layers.frequencies import FrequencyLinear
from methods.layers.groups import DequantizeGroups, GroupQuantizer
from methods.layers.halves import Halve, Widen
from methods.layers.quantization import Dequantize, StepQuantizer, WeightQuantizer
from methods.layers.signed import Signs
from methods.layers.spectral import SpectralLinear
from methods.layers.spectral_conv import SpectralConv2d
from methods.layers.transform import BasisTransform

_TORCH_LAYERS: tuple[type[nn.Module], ...] = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm,
    nn.InstanceNorm2d, nn.LocalResponseNorm,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softmax, nn.LogSoftmax, nn.Softplus,
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.Flatten, nn.Unflatten,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d,
    nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.PixelShuffle, nn.Upsample,
    nn.MultiheadAttention,
)  # fmt: skip
_OUR_LAYERS: tuple[type[CompressedLayer], ...] = (
    ChannelAffine, SpectralLinear, SpectralConv2d, FrequencyLinear, BasisTransform, ActivationQuantizer,
    DynamicQuantizer,
)  # fmt: skip
LAYERS: dict[str, type[nn.Module]] = {layer.__name__: layer for layer in (*_TORCH_LAYERS, *_OUR_LAYERS)}
_CONSTRAINTS: tuple[type[Constraint], ...] = (
    Mask, WeightQuantizer, StepQuantizer, Dequantize, GroupQuantizer, DequantizeGroups, Halve, Widen,
    Codebook, Signs,
)  # fmt: skip
CONSTRAINTS: dict[str, type[Constraint]] = {constraint.__name__: constraint for constraint in _CONSTRAINTS}
_TORCH_WEIGHTS: dict[type[nn.Module], LayerScope] = {nn.Linear: "linear", nn.Conv1d: "conv", nn.Conv2d: "conv"}
_NOT_CONFIGURATION = {"self", "device", "dtype", "inplace", "kwargs", "args"}
_HAS = {"bias": "bias", "add_bias_kv": "bias_k"}  # arguments that switch on a tensor of that name


def kind_of(layer: nn.Module) -> str | None:
    """The name of the layer's type in `LAYERS`, constraints looked through, or None if it is not there."""
    kind = parametrize.type_before_parametrizations(layer)
    return kind.__name__ if LAYERS.get(kind.__name__) is kind else None


def config_of(layer: nn.Module) -> dict[str, Any]:
    """The constructor's arguments of a layer of `LAYERS`, in JSON types."""
    kind = parametrize.type_before_parametrizations(layer)
    if isinstance(layer, CompressedLayer):
        return layer.config()
    config: dict[str, Any] = {}
    for name in inspect.signature(kind).parameters:
        if name in _NOT_CONFIGURATION:
            continue
        if name in _HAS:
            tensor = _HAS[name]
            if kind is nn.MultiheadAttention and name == "bias":
                tensor = "in_proj_bias"
            config[name] = getattr(layer, tensor) is not None
        elif name == "num_parameters":
            config[name] = layer.weight.numel()  # type: ignore[union-attr, operator]
        elif hasattr(layer, name):
            value = getattr(layer, name)
            config[name] = list(value) if isinstance(value, tuple) else value
    return config


def weights(model: nn.Module, layers: LayerScope = "all") -> Iterator[tuple[str, nn.Module, str]]:
    """The stored tensors that pruning and quantisation act on: (path of layer, layer, name of tensor).

    layers: "conv" or "linear" keeps to layers of that family, spectral layers counted with what they replaced.
    """
    for path, layer in model.named_modules():
        kind = parametrize.type_before_parametrizations(layer)
        scope: str
        names: tuple[str, ...]
        if isinstance(layer, CompressedLayer):
            scope, names = layer.scope, layer.weights
        elif kind in _TORCH_WEIGHTS:
            scope, names = _TORCH_WEIGHTS[kind], ("weight",)
        else:
            continue
        if layers in ("all", scope):
            yield from ((path, layer, name) for name in names)


def tied(model: nn.Module, chosen: Iterable[nn.Module]) -> str | None:
    """Why layers of `chosen` cannot be changed each by itself, or None: one holds a tensor that another one of `model`
    holds too. One layer that is called at several places is no such case."""
    holders: dict[int, list[str]] = {}
    for path, layer in model.named_modules():
        for name, tensor in layer.named_parameters(recurse=False):
            plain = f"{path}.{name}".replace("parametrizations.", "").removesuffix(".original")
            holders.setdefault(id(tensor), []).append(plain)
    for layer in chosen:
        for tensor in layer.parameters():
            if len(paths := holders.get(id(tensor), [])) > 1:
                return f"{paths[0]} and {paths[1]} are one tensor, of which two would be made: untie them first"
    return None


def build(kind: str, config: dict[str, Any]) -> nn.Module:
    """The layer that `kind_of` and `config_of` describe, with fresh values.

    Raises:
        ValueError: the kind is not in the table, or the configuration does not fit it.
    """
    if kind not in LAYERS:
        raise ValueError(f"unknown layer {kind!r}")
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    try:
        return LAYERS[kind](**arguments)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"layer {kind} cannot be made of {config}: {error}") from error


def build_constraint(kind: str, config: dict[str, Any]) -> Constraint:
    """The constraint of that name and configuration, with fresh values.

    Raises:
        ValueError: the kind is not in the table, or the configuration does not fit it.
    """
    if kind not in CONSTRAINTS:
        raise ValueError(f"unknown constraint {kind!r}")
    try:
        return CONSTRAINTS[kind](**config)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"constraint {kind} cannot be made of {config}: {error}") from error


__all__ = [
    "CONSTRAINTS",
    "LAYERS",
    "BasisTransform",
    "ChannelAffine",
    "CompressedLayer",
    "Constraint",
    "FrequencyLinear",
    "LayerScope",
    "Mask",
    "SpectralConv2d",
    "SpectralLinear",
    "build",
    "build_constraint",
    "config_of",
    "constrain",
    "constrained_tensors",
    "constraints",
    "kind_of",
    "original",
    "release",
    "tied",
    "weights",
]
