"""What is formed from stored numbers, kept from one call to the next where that is safe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrize


class Materialised:
    """A weight of a layer at rest, kept from one call to the next.

    The parameter `name` that it was made from is held as an alias, so a change in place shows in its version counter
    and a replaced tensor in its address (which cannot be given out again while the alias lives). What shows in neither
    (fused optimisers, writing through `.data`) comes with training: a call in which nothing may be kept forgets.
    """

    def __init__(self, name: str = "coefficients") -> None:
        self._name = name
        self._kept: tuple[Tensor, int, Tensor] | None = None  # what it was made of, the version of that, the weight

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy starts empty: what is kept follows from the layer, and may have a form that only its library knows."""
        return Materialised, (self._name,)

    def weight(self, layer: nn.Module, form: Callable[[Tensor], Tensor]) -> Tensor:
        """form(the layer's parameter), from the last call where that is safe."""
        stored: Tensor = getattr(layer, self._name)
        if not may_keep(layer, self._name):
            self.forget()
            return form(stored)
        kept = self._kept
        if kept is None or not _is_of(kept[0], kept[1], stored):
            with torch.inference_mode(False), torch.no_grad():  # autograd may meet it in a later call
                source, version = stored.detach(), stored._version
                kept = source, version, form(source)
            self._kept = kept  # in one step, and not where forming failed
        return kept[2]

    def forget(self) -> None:
        """Drops what is kept; not while a graph is being taken, which would take that too."""
        if self._kept is not None and not torch.compiler.is_compiling():
            self._kept = None


def _is_of(held: Tensor, version: int, stored: Tensor) -> bool:
    return held.data_ptr() == stored.data_ptr() and version == stored._version and held.dtype == stored.dtype


def may_keep(layer: nn.Module, name: str = "coefficients") -> bool:
    """Whether a weight made of the parameter `name` may outlive this call: not in training or under a constraint, which
    make a new tensor each time, not where derivatives pass through it, not while a graph of it is being taken."""
    stored: Tensor = getattr(layer, name)
    return not (
        layer.training
        or parametrize.is_parametrized(layer, name)
        or (torch.is_grad_enabled() and stored.requires_grad)
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or under_transforms()
        or stored.is_inference()
        or type(stored) not in (Tensor, nn.Parameter)
    )


def under_transforms() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work, of which `requires_grad` says nothing."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
