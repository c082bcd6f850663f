"""What is formed from stored coefficients, kept from one call to the next where that is safe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Materialised:
    """A weight of a layer at rest, kept from one call to the next.

    The coefficients it was made from are held as an alias, so a change in place shows in their version counter and a
    replaced tensor in its address (which cannot be given out again while the alias lives).
    """

    def __init__(self) -> None:
        self._source: Tensor | None = None
        self._version = -1
        self._weight: Tensor | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy starts empty: what is kept follows from the layer, and may have a form that only its library knows."""
        return Materialised, ()

    def weight(self, layer: nn.Module, form: Callable[[Tensor], Tensor]) -> Tensor:
        """form(layer.coefficients), from the last call where that is safe."""
        coefficients: Tensor = layer.coefficients  # type: ignore[assignment]
        if not may_keep(layer, coefficients):
            return form(coefficients)
        if self._weight is None or not self._is_of(coefficients):
            self._source, self._version = coefficients.detach(), coefficients._version
            self._weight = form(self._source)
        return self._weight

    def _is_of(self, coefficients: Tensor) -> bool:
        held = self._source
        return (
            held is not None
            and held.data_ptr() == coefficients.data_ptr()
            and self._version == coefficients._version
            and held.dtype == coefficients.dtype
        )


def may_keep(layer: nn.Module, coefficients: Tensor) -> bool:
    """Whether a weight made of `coefficients` may outlive this call: not in training or under a constraint, which make
    a new tensor each time, not where autograd must see the product, not while a graph of it is being taken."""
    return not (
        layer.training
        or parametrize.is_parametrized(layer, "coefficients")
        or (torch.is_grad_enabled() and coefficients.requires_grad)
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or coefficients.is_inference()
        or type(coefficients) not in (Tensor, nn.Parameter)
    )
