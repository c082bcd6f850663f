"""Running an .onnx file with OpenVINO. Imports no torch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import openvino

from bench.runtimes.base import RuntimeFailure, Session, one_line, word_on_zeros
from bench.runtimes.onnx_file import zeros

_MULTIPLIES = {"Convolution", "GroupConvolution", "FullyConnected", "MatMul"}


class OpenVinoSession(Session):
    """An exported network, compiled anew for each batch size that it meets: with a free one every pass takes longer."""

    def __init__(self, path: Path, *, threads: int) -> None:
        self._path = path
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._compile(1)

    def run(self, images: np.ndarray) -> np.ndarray:
        if len(images) != self._batch:
            self._compile(len(images))
        return self._request.infer([images])[0]

    def _compile(self, batch: int) -> None:
        try:
            core = openvino.Core()
            model = core.read_model(str(self._path))
            model.reshape([batch, *model.input(0).partial_shape[1:]])
            self._compiled = core.compile_model(model, "CPU", self._settings)
        except Exception as error:  # the library's errors share no base class of its own
            raise RuntimeFailure(f"openvino refuses the exported network: {one_line(error)}") from error
        self._request, self._batch = self._compiled.create_infer_request(), batch

    def kernels(self) -> str:
        """Read from the library's graph of what it executes."""
        described = [op.get_rt_info() for op in self._compiled.get_runtime_model().get_ops()]
        counts = Counter(
            (
                str(info["runtimePrecision"].astype(str)),
                info["layerType"].astype(str),
                info["primitiveType"].astype(str),
            )
            for info in described
            if info["layerType"].astype(str) in _MULTIPLIES
        )
        words = [f"{precision} {layer} {kernel} x{count}" for (precision, layer, kernel), count in counts.items()]
        return (", ".join(words) or "no layer that multiplies") + word_on_zeros(*zeros(self._path))
