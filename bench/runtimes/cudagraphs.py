"""CUDA graphs: eager's kernels, recorded once for each shape of batch and then started as one, so that small batches do
not wait for Python to start every kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.runtimes.base import RuntimeFailure, Session, one_line
from bench.runtimes.kernels import Kernels
from bench.runtimes.torch_runtime import TorchRuntime

if TYPE_CHECKING:
    from torch.fx import GraphModule

_PASSES_BEFORE = 3  # libraries choose kernels and take memory in the first passes, which must not be recorded


class CudaGraphs(TorchRuntime):
    name = "cudagraphs"

    def unavailable(self, device: str) -> str | None:
        from bench.runtimes.torch_session import no_such_device

        return no_such_device(device) if device.startswith("cuda") else f"it runs on a GPU only, not on {device}"

    def session(self, model: GraphModule, device: str) -> Session:
        from bench.runtimes.lowering import baked
        from bench.runtimes.precision import in_stored_precision
        from bench.runtimes.torch_session import EagerSession

        module = in_stored_precision(baked(model), model, device).eval().to(device)
        return CudaGraphSession(module, EagerSession(model, module, device), device)


class CudaGraphSession(Session):
    """A module on a GPU, recorded for each shape of batch that it meets."""

    def __init__(self, module: Any, eager: Session, device: str) -> None:
        """eager: the same module, operation by operation: it says what the kernels are."""
        self._module, self._eager, self._device = module, eager, device
        self._recorded: dict[tuple[int, ...], tuple[Any, Any, Any]] = {}  # graph, images [n, c, h, w], logits [n, k]

    def run(self, images: np.ndarray) -> np.ndarray:
        import torch

        if images.shape not in self._recorded:
            self._recorded[images.shape] = self._record(images)
        graph, there, logits = self._recorded[images.shape]
        with torch.cuda.device(self._device):
            there.copy_(torch.from_numpy(images))
            graph.replay()
            return logits.float().cpu().numpy()

    def _record(self, images: np.ndarray) -> tuple[Any, Any, Any]:
        import torch

        there = torch.from_numpy(images).to(self._device)
        try:
            with torch.no_grad(), torch.cuda.device(self._device):
                beside = torch.cuda.Stream()
                beside.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(beside):
                    for _ in range(_PASSES_BEFORE):
                        self._module(there)
                torch.cuda.current_stream().wait_stream(beside)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    logits = self._module(there)
        except Exception as error:  # what cannot be recorded raises anything
            raise RuntimeFailure(f"the network cannot be recorded as a CUDA graph: {one_line(error)}") from error
        return graph, there, logits

    def kernels(self) -> Kernels:
        """Eager's for the shapes that were run."""
        for shape in self._recorded:
            self._eager.run(np.zeros(shape, np.float32))
        return self._eager.kernels()
