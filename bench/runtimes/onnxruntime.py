"""ONNX Runtime: the network is exported once to an .onnx file, which then runs without torch.

Quantised networks are exported with QuantizeLinear and DequantizeLinear nodes, which the runtime fuses into int8
kernels; the accuracy measured here is that of the kernels that ran.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.runtimes.base import Runtime, RuntimeFailure, Session, one_line

if TYPE_CHECKING:
    from torch.fx import GraphModule


class OnnxRuntime(Runtime):
    name = "onnxruntime"

    def unavailable(self, device: str) -> str | None:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            if importlib.util.find_spec(package) is None:
                return f"the package {package} is not installed"
        from bench.runtimes.onnxruntime_session import available_providers, provider_for

        provider = provider_for(device)
        if provider not in available_providers():
            return f"the installed onnxruntime has no {provider}"
        return None

    def preload(self) -> None:
        """The exporter imports most of itself, some seconds' worth, when it is first used: so it is used."""
        from torch import nn

        if importlib.util.find_spec("tqdm"):  # the exporter's bars, which show nothing, would start a thread
            import tqdm

            tqdm.tqdm.monitor_interval = 0
        from bench.runtimes.onnx_export import export
        from methods.graph import trace

        with tempfile.TemporaryDirectory() as folder:
            export(trace(nn.Linear(2, 2)), (2,), Path(folder, "tiny.onnx"))

    def prepare(self, model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        return write_onnx(model, input_shape, folder)

    def load(self, model: GraphModule | None, deployed: Path | None, *, threads: int, device: str) -> Session:
        from bench.runtimes.onnxruntime_session import OnnxSession

        assert deployed is not None
        return OnnxSession(deployed, threads=threads, device=device)


def write_onnx(model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path:
    """Exports `model` for inputs [n, *input_shape] and returns the file.

    Raises:
        RuntimeFailure: the network cannot be exported.
    """
    from bench.runtimes.onnx_export import export

    path = folder / "model.onnx"
    try:
        export(model, input_shape, path)
    except Exception as error:  # the exporter runs other people's code on any network and raises anything
        raise RuntimeFailure(f"cannot be exported to ONNX: {one_line(_root(error))}") from error
    return path


def _root(error: BaseException) -> BaseException:
    """The first exception of a chain: the exporter wraps what happened in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
