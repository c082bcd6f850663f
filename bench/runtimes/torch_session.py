"""Sessions that run torch modules: operation by operation, or compiled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bench.runtimes.base import RuntimeFailure, Session, one_line, word_on_zeros
from bench.runtimes.float32 import hold_to_float32
from bench.runtimes.routes import routes_taken
from methods.layers import BasisTransform, FrequencyLinear, kind_of, weights
from methods.layers.quantization import is_quantized

_COMPILED_KERNELS = re.compile(
    r"(?:torch\.ops\.|extern_kernels\.)"
    r"(onednn\.q\w+|mkldnn\._convolution\w*|mkldnn\._linear\w*|mkl\._mkl_linear|convolution|addmm|mm|bmm)"
    r"(?:\.\w+)?\("
)
_WithoutWeight = BasisTransform | FrequencyLinear  # layers that multiply by what they do not store


def no_such_device(device: str) -> str | None:
    """The reason why torch cannot use `device`, or None."""
    if device == "cpu" or (device.startswith("cuda") and torch.cuda.is_available()):
        return None
    return f"torch sees no device {device!r} here"


class EagerSession(Session):
    """A plain module on a device."""

    def __init__(self, stored: GraphModule, module: nn.Module, device: str) -> None:
        """stored: the network as it was read, which says what is simulated; module: what runs."""
        hold_to_float32()
        self._module, self._device = module.to(device), torch.device(device)
        self._kernels = _kernels_of_layers(stored, module)
        self._shapes: set[tuple[int, ...]] = set()  # of the batches run, [n, c, h, w]

    def run(self, images: np.ndarray) -> np.ndarray:
        self._shapes.add(images.shape)
        return _run(self._module, images, self._device)

    def kernels(self) -> str:
        """The layers that multiply, and the ways that spectral ones took for the smallest and largest batch so far."""
        if not self._shapes:
            return self._kernels
        least, most = min(self._shapes), max(self._shapes)
        return self._kernels + routes_taken(self._module, least[1:], (least[0], most[0]), self._device)


class InductorSession(Session):
    """A module compiled with its weights frozen into it, once for each batch size."""

    def __init__(self, stored: GraphModule, module: nn.Module, device: str) -> None:
        """stored: the network as it was read, which says what is zero; module: what is compiled."""
        hold_to_float32()
        self._device = torch.device(device)
        self._word_on_zeros = _word_on_zeros(_weights(stored))
        self._compiled = torch.compile(module.to(device), dynamic=False)
        self._sources: list[str] = []

    def run(self, images: np.ndarray) -> np.ndarray:
        if self._sources:
            return _run(self._compiled, images, self._device)
        from torch._inductor.utils import run_and_get_code

        try:
            logits, self._sources = run_and_get_code(_run, self._compiled, images, self._device)
        except Exception as error:  # the compiler raises anything
            raise RuntimeFailure(f"torch.compile fails: {one_line(error)}") from error
        return logits

    def kernels(self) -> str:
        """Read from the code that the compiler wrote for the first batch."""
        if not self._sources:
            raise RuntimeError("nothing is compiled before the first run: call run() before kernels()")
        counts = Counter(match for source in self._sources for match in _COMPILED_KERNELS.findall(source))
        words = [
            f"{'int8' if name.startswith('onednn.q') else 'fp32'} {name} x{count}"
            for name, count in sorted(counts.items())
        ]
        return (", ".join(words) or "generated kernels only") + self._word_on_zeros


def _run(module: Callable[[Tensor], Tensor], images: np.ndarray, device: torch.device) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(images).to(device)).float().cpu().numpy()


def _kernels_of_layers(stored: GraphModule, module: nn.Module) -> str:
    tensors = list(_weights(module))
    multiply = [layer for _, layer, _ in weights(module)]
    multiply += [layer for layer in module.modules() if isinstance(layer, _WithoutWeight)]
    counts = Counter(kind_of(layer) for layer in dict.fromkeys(multiply))
    dtype = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
    stored_as = {one.dtype for one in tensors or module.parameters()}
    kind = "/".join(sorted(dtype.get(one, str(one)) for one in stored_as))
    words = ", ".join(f"{kind} {name} x{count}" for name, count in counts.items()) or "no layer that multiplies"
    simulated = " (int8 simulated)" if is_quantized(stored) else ""
    return words + simulated + _word_on_zeros(tensors)


def _weights(module: nn.Module) -> Iterator[Tensor]:
    return (getattr(layer, name) for _, layer, name in weights(module))


def _word_on_zeros(tensors: Iterable[Tensor]) -> str:
    counts = [(int((tensor == 0).sum()), tensor.numel()) for tensor in tensors]
    return word_on_zeros(sum(zeros for zeros, _ in counts), sum(count for _, count in counts))
