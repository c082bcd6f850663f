"""OpenVINO on the processor: runs the same .onnx file as ONNX Runtime, with its own int8 kernels.

Float networks are held to float32: on some processors its default is silently bfloat16, which would be another row.
Networks stored in bfloat16 are that row.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from bench.runtimes.base import Runtime, Session
from bench.runtimes.openvino_graph import write_for_openvino

if TYPE_CHECKING:
    from torch.fx import GraphModule


class OpenVino(Runtime):
    name = "openvino"

    def unavailable(self, device: str) -> str | None:
        for package in ("onnx", "onnxscript", "openvino"):
            if importlib.util.find_spec(package) is None:
                return f"the package {package} is not installed"
        return None if device == "cpu" else f"it runs on the processor only, not on {device}"

    def prepare(self, model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        return write_for_openvino(model, input_shape, folder)

    def load(self, model: GraphModule | None, deployed: Path | None, *, threads: int, device: str) -> Session:
        from bench.runtimes.openvino_session import OpenVinoSession

        assert deployed is not None
        return OpenVinoSession(deployed, threads=threads)
