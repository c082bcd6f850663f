"""Running an .onnx file with OpenVINO. Imports no torch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import openvino

from bench.runtimes.base import RuntimeFailure, Session, one_line
from bench.runtimes.kernels import UNKNOWN, Kernels, note_on_zeros
from bench.runtimes.onnx_file import zeros

_MULTIPLIES = {"Convolution", "GroupConvolution", "FullyConnected", "MatMul"}
_PRECISIONS = {"f64": "fp64", "f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}


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

    def kernels(self) -> Kernels:
        """Read from the library's graph of what it executes."""
        calls: Counter[tuple[str, str]] = Counter()
        for op in self._compiled.get_runtime_model().get_ops():
            info = op.get_rt_info()
            precision, layer, kernel = (
                str(info[key].astype(str)) for key in ("runtimePrecision", "layerType", "primitiveType")
            )
            if layer in _MULTIPLIES:
                calls[_PRECISIONS.get(precision, UNKNOWN), f"{layer} {kernel}"] += 1
        return Kernels.of(calls, note_on_zeros(*zeros(self._path)))
