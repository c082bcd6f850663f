"""Sessions that run torch modules: operation by operation, or compiled."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bench.records import SIMULATED_INT8
from bench.runtimes.base import RuntimeFailure, Session, one_line
from bench.runtimes.float32 import hold_to_float32
from bench.runtimes.kernels import Kernels, note_on_zeros
from bench.runtimes.routes import routes_taken
from bench.runtimes.torch_kernels import products_in, products_of
from methods.layers import weights
from methods.layers.activations import ActivationQuantizer, DynamicQuantizer


def no_such_device(device: str) -> str | None:
    """The reason why torch cannot use `device`, or None."""
    if device == "cpu" or (device.startswith("cuda") and torch.cuda.is_available()):
        return None
    return f"torch sees no device {device!r} here"


class EagerSession(Session):
    """A plain module on a device."""

    def __init__(
        self, stored: GraphModule, module: nn.Module, device: str, skipping: frozenset[str] = frozenset()
    ) -> None:
        """stored: the network as it was read, which says what is simulated and what is zero; module: what runs;
        skipping: paths of layers whose zeros it does not multiply."""
        hold_to_float32()
        self._module, self._device = module.to(device), torch.device(device)
        self._simulated = any(isinstance(layer, ActivationQuantizer | DynamicQuantizer) for layer in stored.modules())
        self._note_on_zeros = _note_on_zeros(stored, skipping)
        self._shapes: set[tuple[int, ...]] = set()  # of the batches run, [n, c, h, w]

    def run(self, images: np.ndarray) -> np.ndarray:
        self._shapes.add(images.shape)
        return _run(self._module, images, self._device)

    def kernels(self) -> Kernels:
        """Seen in one pass of the smallest batch so far; said where the largest takes others, and the ways that
        spectral layers took for both."""
        if not self._shapes:
            raise RuntimeError("kernels are chosen by the shape of a batch: call run() before kernels()")
        least, most = min(self._shapes), max(self._shapes)
        calls, of_most = self._calls(least), self._calls(most)
        return Kernels.of(
            calls,
            SIMULATED_INT8 if self._simulated and any(precision != "int8" for precision, _ in calls) else "",
            "" if calls == of_most else f"batch {most[0]}: {Kernels.of(of_most).words()}",
            routes_taken(self._module, least[1:], (least[0], most[0]), self._device),
            self._note_on_zeros,
        )

    def _calls(self, shape: tuple[int, ...]) -> Counter[tuple[str, str]]:
        blank = np.zeros(shape, np.float32)
        return products_of(lambda: _run(self._module, blank, self._device))


class InductorSession(Session):
    """A module compiled with its weights frozen into it, once for each batch size."""

    def __init__(self, stored: GraphModule, module: nn.Module, device: str) -> None:
        """stored: the network as it was read, which says what is zero; module: what is compiled."""
        hold_to_float32()
        self._device = torch.device(device)
        self._note_on_zeros = _note_on_zeros(stored)
        self._compiled = torch.compile(module.to(device), dynamic=False)
        self._sources: list[str] = []

    def run(self, images: np.ndarray) -> np.ndarray:
        if self._sources:
            return _run(self._compiled, images, self._device)
        from torch._inductor.utils import run_and_get_code

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the compiler's own insides
                logits, self._sources = run_and_get_code(_run, self._compiled, images, self._device)
        except Exception as error:  # the compiler raises anything
            raise RuntimeFailure(f"torch.compile fails: {one_line(error)}") from error
        return logits

    def kernels(self) -> Kernels:
        """Read from the code that the compiler wrote for the first batch."""
        if not self._sources:
            raise RuntimeError("nothing is compiled before the first run: call run() before kernels()")
        calls = products_in(self._sources)
        return Kernels.of(calls, "" if calls else "generated kernels only", self._note_on_zeros)


def _run(module: Callable[[Tensor], Tensor], images: np.ndarray, device: torch.device) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(images).to(device)).float().cpu().numpy()


def _note_on_zeros(module: nn.Module, skipping: frozenset[str] = frozenset()) -> str:
    multiplied = (getattr(layer, name) for path, layer, name in weights(module) if path not in skipping)
    counts = [(int((one == 0).sum()), one.numel()) for one in multiplied]
    return note_on_zeros(sum(zeros for zeros, _ in counts), sum(count for _, count in counts))
