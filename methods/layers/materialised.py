"""What is formed from stored numbers, kept from one call to the next where that is safe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Materialised:
    """A weight of a layer at rest, kept from one call to the next.

    The parameter `name` that it was made from is held as an alias, so a change in place shows in its version counter
    and a replaced tensor in its address (which cannot be given out again while the alias lives). Writing through
    `.data` shows in neither.
    """

    def __init__(self, name: str = "coefficients") -> None:
        self._name = name
        self._source: Tensor | None = None
        self._version = -1
        self._weight: Tensor | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy starts empty: what is kept follows from the layer, and may have a form that only its library knows."""
        return Materialised, (self._name,)

    def weight(self, layer: nn.Module, form: Callable[[Tensor], Tensor]) -> Tensor:
        """form(the layer's parameter), from the last call where that is safe."""
        stored: Tensor = getattr(layer, self._name)
        if not may_keep(layer, self._name):
            return form(stored)
        if self._weight is None or not self._is_of(stored):
            with torch.inference_mode(False), torch.no_grad():  # autograd may meet it in a later call
                self._source, self._version = stored.detach(), stored._version
                self._weight = form(self._source)
        return self._weight

    def _is_of(self, stored: Tensor) -> bool:
        held = self._source
        return (
            held is not None
            and held.data_ptr() == stored.data_ptr()
            and self._version == stored._version
            and held.dtype == stored.dtype
        )


def may_keep(layer: nn.Module, name: str = "coefficients") -> bool:
    """Whether a weight made of the parameter `name` may outlive this call: not in training or under a constraint, which
    make a new tensor each time, not where autograd must see the product, not while a graph of it is being taken."""
    stored: Tensor = getattr(layer, name)
    return not (
        layer.training
        or parametrize.is_parametrized(layer, name)
        or (torch.is_grad_enabled() and stored.requires_grad)
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or stored.is_inference()
        or type(stored) not in (Tensor, nn.Parameter)
    )
