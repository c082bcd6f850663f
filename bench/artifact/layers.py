"""Layers of a network as rows of the header, and rows as layers again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bench.artifact.header import MalformedError, StoredConstraint, StoredLayer
from bench.artifact.ledger import Purpose
from methods.graph import modules_called
from methods.layers import (
    CONSTRAINTS,
    ActivationQuantizer,
    build,
    build_constraint,
    config_of,
    constrain,
    constrained_tensors,
    kind_of,
)
from methods.layers import constraints as constraints_of

_OF_CONSTRAINT = re.compile(r"parametrizations\.(?P<tensor>\w+)\.(?P<index>\d+)\..+")  # a buffer of a constraint
_NAME = re.compile(r"[\w\- ]+", re.ASCII)
_NOT_IN_FILES = {"device", "dtype", "inplace"}  # arguments of layers that a file has no say in


@dataclass(frozen=True)
class Expected:
    """A tensor that a layer of a file must have."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_parameter: bool
    is_constrained: bool  # it is read by a constraint, so its type may be any


def describe_layers(model: GraphModule) -> tuple[StoredLayer, ...]:
    """The rows of the layers that the graph calls, in order of first call; a layer at two paths is described once.

    Raises:
        ValueError: a tensor has a constraint that files cannot name.
    """
    first_path: dict[int, str] = {}
    rows = []
    for path, layer in modules_called(model).items():
        earlier = first_path.setdefault(id(layer), path)
        rows.append(_describe(path, layer) if earlier == path else StoredLayer(path, same_as=earlier))
    return tuple(rows)


def _describe(path: str, layer: nn.Module) -> StoredLayer:
    stored = []
    for name in constrained_tensors(layer):
        for constraint in constraints_of(layer, name):
            kind = type(constraint).__name__
            if CONSTRAINTS.get(kind) is not type(constraint):
                raise ValueError(f"{path}.{name} has the constraint {kind}, which a file cannot name (methods/layers)")
            stored.append(StoredConstraint(name, kind, constraint.config()))
    return StoredLayer(path, str(kind_of(layer)), config_of(layer), tuple(stored))


def sketch(row: StoredLayer) -> nn.Module:
    """The layer that `row` describes, without storage: all its tensors are on the meta device.

    Raises:
        ValueError: the row describes no layer.
    """
    with torch.device("meta"):
        return _build(row)


def build_layer(row: StoredLayer, sketched: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """The layer ready to take the tensors of its state dict.

    A layer whose tensors all come from its state dict is `sketched` itself. One that computes others from its
    configuration (a basis) is made for real, those in `dtype` if given.
    """
    in_state = sketched.state_dict().keys()
    if all(name in in_state for name, _ in _tensors(sketched)):
        return sketched
    with torch.random.fork_rng(devices=[]):  # what a file holds must not move the caller's random numbers
        layer = _build(row)
    return layer if dtype is None else layer.to(dtype)


def storage_bytes(layer: nn.Module) -> int:
    """What all tensors of a layer would take in memory, sketched or not."""
    return sum(tensor.numel() * tensor.element_size() for _, tensor in _tensors(layer))


def computed_bytes(layer: nn.Module) -> int:
    """The part of `storage_bytes` that no file holds: what a layer makes from its configuration."""
    in_state = layer.state_dict().keys()
    return sum(tensor.numel() * tensor.element_size() for name, tensor in _tensors(layer) if name not in in_state)


def expected_tensors(layer: nn.Module) -> dict[str, Expected]:
    """What the state dict of `layer` must hold, by name."""
    constrained = {f"parametrizations.{name}.original" for name in constrained_tensors(layer)}
    return {
        name: Expected(tuple(tensor.shape), tensor.dtype, isinstance(tensor, nn.Parameter), name in constrained)
        for name, tensor in layer.state_dict(keep_vars=True).items()
    }


def purpose_of(layer: nn.Module, name: str) -> Purpose:
    """What the tensor of that name in the state dict of `layer` is to it, for the size ledger."""
    match = _OF_CONSTRAINT.fullmatch(name)
    if match:
        return constraints_of(layer, match["tensor"])[int(match["index"])].stores
    return "scales" if isinstance(layer, ActivationQuantizer) else "values"


def place(root: nn.Module, path: str, layer: nn.Module) -> None:
    """Puts `layer` at a dotted path below `root`, on which no layer lies yet.

    Raises:
        MalformedError: the path is none, is taken, or leads through a layer.
    """
    owner, name = owner_of(root, path)
    try:
        owner.add_module(name, layer)
    except KeyError as error:
        raise MalformedError(f"layer path {path!r} is taken") from error


def owner_of(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The plain container that a dotted path leads to, made where there is none, and the last name of the path.

    Raises:
        MalformedError: the path is none, is taken, or leads through a layer.
    """
    *containers, last = path.split(".")
    if not all(_NAME.fullmatch(name) for name in (*containers, last)):
        raise MalformedError(f"bad path {path!r}")
    for name in containers:
        if name not in root._modules:
            place(root, name, nn.Module())
        child = root._modules[name]
        if type(child) is not nn.Module:
            raise MalformedError(f"path {path!r} leads through a layer")
        root = child
    if last in root._modules:
        raise MalformedError(f"path {path!r} is taken")
    return root, last


def _build(row: StoredLayer) -> nn.Module:
    if forbidden := _NOT_IN_FILES & (row.config or {}).keys():
        raise MalformedError(f"layer {row.path} sets {', '.join(sorted(forbidden))}, which files may not")
    layer = build(row.kind, row.config or {})
    for one in row.constraints:
        if not isinstance(getattr(layer, one.tensor, None), Tensor):
            raise MalformedError(f"layer {row.path} has no tensor {one.tensor!r}")
        constrain(layer, one.tensor, build_constraint(one.kind, one.config))
    return layer


def _tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from layer.named_parameters(remove_duplicate=False)
    yield from layer.named_buffers(remove_duplicate=False)
