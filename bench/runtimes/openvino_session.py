"""Running an .onnx file with OpenVINO. Imports no torch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import openvino

from bench.runtimes.base import RuntimeFailure, Session, one_line
from bench.runtimes.kernels import UNKNOWN, Kernels, note_on_zeros
from bench.runtimes.onnx_file import precision, zeros

_MULTIPLIES = {
    "Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul", "MHA", "ScaledDotProductAttention",
}  # fmt: skip
_PRECISIONS = {"f64": "fp64", "f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}


class OpenVinoSession(Session):
    """An exported network, its batch size left free.

    Compiled for one batch size, 2026.4.1 is 2 to 7 % faster and crashes on int8 concatenations (densenet121).
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        self._path = path
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision(path) == "bf16" else "f32",
        }
        try:
            self._compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        except Exception as error:  # the library's errors share no base class of its own
            raise RuntimeFailure(f"openvino refuses the exported network: {one_line(error)}") from error
        self._request = self._compiled.create_infer_request()

    def run(self, images: np.ndarray) -> np.ndarray:
        return self._request.infer([images])[0]

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
