"""Running an .onnx file. Imports no torch: this is what a deployment would import."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime

from bench.runtimes.base import RuntimeFailure, Session, one_line, word_on_zeros

_INT8 = (
    "QLinearConv", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
)  # fmt: skip
_FLOAT = ("Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Einsum")
_ERRORS_ONLY = 3


def available_providers() -> list[str]:
    """The execution providers that the installed package can use."""
    return onnxruntime.get_available_providers()


def provider_for(device: str) -> str:
    """The execution provider that runs on `device`."""
    return "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"


class OnnxSession(Session):
    """An exported network on one execution provider, with a fixed number of threads."""

    def __init__(self, path: Path, *, threads: int, device: str) -> None:
        self._path, self._threads, self._device = path, threads, device
        self._session = _open(path, _session_options(threads), device)
        self._input = self._session.get_inputs()[0].name

    def run(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: images})[0]

    def kernels(self) -> str:
        """Read from the graph that the runtime has optimised, which it is asked to write out once more."""
        import onnx

        with tempfile.TemporaryDirectory() as folder:
            optimized = Path(folder, "optimized.onnx")
            options = _session_options(self._threads)
            options.optimized_model_filepath = str(optimized)
            _open(self._path, options, self._device)
            counts = Counter(node.op_type for node in _nodes(onnx.load(optimized).graph))
        return _in_words(counts) + word_on_zeros(*_zeros(self._path))


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    return options


def _open(path: Path, options: onnxruntime.SessionOptions, device: str) -> onnxruntime.InferenceSession:
    provider = provider_for(device)
    settings = {"device_id": int(device.partition(":")[2] or 0)} if provider.startswith("CUDA") else {}
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[(provider, settings)])
    except Exception as error:  # the runtime's errors share no base class of its own
        raise RuntimeFailure(f"onnxruntime refuses the exported network: {one_line(error)}") from error


def _in_words(counts: Counter[str]) -> str:
    words = [f"int8 {kind} x{counts[kind]}" for kind in _INT8 if counts[kind]]
    words += [f"fp32 {kind} x{counts[kind]}" for kind in _FLOAT if counts[kind]]
    return ", ".join(words) or "no layer that multiplies"


def _nodes(graph: object) -> Iterator:
    """All nodes, those of subgraphs too."""
    for node in graph.node:  # type: ignore[attr-defined]
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _zeros(path: Path) -> tuple[int, int]:
    """Zeros among, and number of, the weights of the deployed file: constants of two axes or more."""
    import onnx
    from onnx import numpy_helper

    zeros = weights = 0
    for tensor in onnx.load(path).graph.initializer:
        if len(tensor.dims) >= 2:
            weights += math.prod(tensor.dims)
            zeros += int(np.count_nonzero(numpy_helper.to_array(tensor) == 0))
    return zeros, weights
