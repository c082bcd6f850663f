"""Looking at what layers are given while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

Layer = TypeVar("Layer", bound=nn.Module)


@contextmanager
def watching(layers: Iterable[Layer], see: Callable[[Layer, Tensor], None]) -> Iterator[None]:
    """Calls see(layer, input) before each call of one of `layers`, which take one input each; leaves no hook behind."""

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        see(layer, inputs[0])  # type: ignore[arg-type]

    handles = [layer.register_forward_pre_hook(watch) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
