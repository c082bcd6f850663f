"""Running an .onnx file. Imports no torch: this is what a deployment would import.

On an x86 processor without VNNI the runtime's product of uint8 activations and int8 weights adds two neighbouring
products in int16 (vpmaddubsw), which saturates when both are large and then changes predictions; codes up to 64 cannot
saturate (255 * 64 * 2 < 2^15). For larger codes sessions ask for the exact, slower kernels there, and wherever the
processor is not known. With VNNI they do not: the sums are exact in int32, and asking costs more than half the speed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from bench.records import EXACT_INT8, FORMS_WEIGHTS
from bench.runtimes.base import RuntimeFailure, Session, one_line
from bench.runtimes.kernels import Kernels, note_on_zeros
from bench.runtimes.onnx_file import settings_of, zeros
from bench.runtimes.onnx_graph import forms_weights, has_unsigned_weights, products
from bench.runtimes.processor import has_vnni

_ERRORS_ONLY = 3
_LARGEST_SAFE_CODE = 64
_EXACT_KERNELS = "session.x64quantprecision"
_DISABLED_OPTIMIZERS = [
    "WeightBiasQuantization",  # it rounds weights that are float in the file (bench/runtimes/integer_bias.py)
    "ConstantSharing",  # it shares equal zero points of up to 8 channels, which the rewriting of weights for the exact
    # kernels then refuses ("Attempt to replace the existing tensor", 1.31.1)
]


def available_providers() -> list[str]:
    """The execution providers that the installed package can use."""
    return onnxruntime.get_available_providers()


def provider_for(device: str) -> str:
    """The execution provider that runs on `device`."""
    return "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"


def provider_settings(device: str) -> dict[str, int]:
    """How that provider is set up. On a GPU its default for float32 is TF32, whose products have 10 bits: off here."""
    return {} if device == "cpu" else {"device_id": int(device.partition(":")[2] or 0), "use_tf32": 0}


class OnnxSession(Session):
    """An exported network on one execution provider, with a fixed number of threads."""

    def __init__(self, path: Path, *, threads: int, device: str) -> None:
        self._path, self._threads, self._device = path, threads, device
        self._session = _open(path, session_options(threads, path), device)
        self._input = self._session.get_inputs()[0].name

    def run(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: images})[0]

    def kernels(self) -> Kernels:
        """Read from the graph that the runtime has optimised, which it is asked to write out once more."""
        import onnx

        with tempfile.TemporaryDirectory() as folder:
            optimized = Path(folder, "optimized.onnx")
            options = session_options(self._threads, self._path)
            options.optimized_model_filepath = str(optimized)
            _open(self._path, options, self._device)
            graph = onnx.load(optimized).graph
        formed = FORMS_WEIGHTS if forms_weights(graph) else ""
        exact = EXACT_INT8 if has_unsigned_weights(graph) else ""
        return Kernels.of(products(graph), formed, exact, note_on_zeros(*zeros(self._path)))


def session_options(threads: int, path: Path) -> onnxruntime.SessionOptions:
    """How the file `path` is run."""
    settings = json.loads(settings_of(path).read_text(encoding="utf-8")) if settings_of(path).is_file() else {}
    options = onnxruntime.SessionOptions()
    if settings.get("largest_weight_code", 127) > _LARGEST_SAFE_CODE and not has_vnni():
        options.add_session_config_entry(_EXACT_KERNELS, "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    return options


def _open(path: Path, options: onnxruntime.SessionOptions, device: str) -> onnxruntime.InferenceSession:
    provider, settings = provider_for(device), provider_settings(device)
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[(provider, settings)], disabled_optimizers=_DISABLED_OPTIMIZERS
        )
    except Exception as error:  # the runtime's errors share no base class of its own
        raise RuntimeFailure(f"onnxruntime refuses the exported network: {one_line(error)}") from error
