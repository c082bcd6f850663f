"""Constraints on stored tensors: torch parametrisations that outlive the method that set them.

A constraint maps the trained tensor to the one the layer computes with, so fine-tuning keeps it without knowing of it:
a mask keeps zeros, a quantiser keeps the grid. Each knows its shipped form: what of it goes into the file, and what
reader turns the stored tensor back into the layer's tensor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Constraint(nn.Module, ABC):
    """A parametrisation of one stored tensor. `config()` are its constructor's arguments, in JSON types."""

    stores: ClassVar[Literal["scales", "codebooks", "indices"]] = "scales"  # what a size ledger calls its buffers

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Arguments that make a constraint of the same shape; its buffers hold the rest."""

    @abstractmethod
    def forward(self, tensor: Tensor) -> Tensor:
        """The tensor that the layer computes with; the shape of `tensor`."""

    @abstractmethod
    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        """What is stored of `tensor`, and the constraint that reads it back: reader(stored) == forward(tensor)."""


class Mask(Constraint):
    """Holds pruned entries of a stored tensor at zero, also while it is trained further."""

    stores = "indices"

    keep: Tensor

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.register_buffer("keep", torch.ones(*shape, dtype=torch.bool))

    @classmethod
    def of(cls, keep: Tensor) -> Mask:
        """keep: bool, the shape of the tensor that is masked."""
        mask = cls(list(keep.shape))
        mask.keep = keep.clone()
        return mask

    def config(self) -> dict[str, Any]:
        return {"shape": list(self.keep.shape)}

    def forward(self, tensor: Tensor) -> Tensor:
        return torch.where(self.keep, tensor, 0)  # not a product: a diverged entry (inf * 0) must not come back as NaN

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return self(tensor), None


def constraints(layer: nn.Module, name: str) -> list[Constraint]:
    """The constraints on tensor `name` of `layer`, first applied first."""
    if not parametrize.is_parametrized(layer, name):
        return []
    return list(layer.parametrizations[name])  # type: ignore[arg-type, index, union-attr]


def constrain(layer: nn.Module, name: str, constraint: Constraint) -> None:
    """Adds `constraint` to tensor `name` of `layer`, after those it has."""
    _give_class_of_its_own(layer)
    parametrize.register_parametrization(layer, name, constraint, unsafe=True)  # unsafe: dtypes may differ


def original(layer: nn.Module, name: str) -> nn.Parameter:
    """The stored tensor that is trained, before any constraint."""
    if parametrize.is_parametrized(layer, name):
        return layer.parametrizations[name].original  # type: ignore[index, union-attr, return-value]
    return getattr(layer, name)


def release(layer: nn.Module, name: str) -> None:
    """Takes all constraints off tensor `name`; what is left is the plain original."""
    if parametrize.is_parametrized(layer, name):
        _give_class_of_its_own(layer)
        parametrize.remove_parametrizations(layer, name, leave_parametrized=False)


def _give_class_of_its_own(layer: nn.Module) -> None:
    """A constrained layer has a class made for it, which `copy.deepcopy` shares with the copy: constraining or
    releasing the copy would take the tensor away from the layer it was copied from."""
    if parametrize.is_parametrized(layer):
        kind = type(layer)
        own = {key: value for key, value in vars(kind).items() if key not in ("__dict__", "__weakref__")}
        layer.__class__ = type(kind.__name__, kind.__bases__, own)


def constrained_tensors(layer: nn.Module) -> Iterator[str]:
    """Names of the tensors of `layer` that have constraints."""
    if parametrize.is_parametrized(layer):
        yield from layer.parametrizations  # type: ignore[misc]
