"""OpenVINO: its .xml and .bin, made from the ONNX graph; facts are runtime info under `model_info`. Floats stay
float32: the library would store them as float16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.exporting.base import Facts, Format
from bench.runtimes import RUNTIMES, RuntimeFailure, Session
from bench.runtimes.base import one_line
from bench.runtimes.onnx_file import settings_of
from bench.runtimes.openvino_graph import write_for_openvino

if TYPE_CHECKING:
    from torch.fx import GraphModule

_SECTION = "model_info"  # where the library's own tools look


class OpenVinoFormat(Format):
    name, suffix, default_suffix = "openvino", ".xml", ".xml"

    def unavailable(self) -> str | None:
        reason = RUNTIMES["openvino"].unavailable("cpu")
        return reason and f"{reason}: pip install -r requirements-extra.txt"

    def write(self, model: GraphModule, facts: Facts, path: Path) -> None:
        import openvino

        graph = write_for_openvino(model, tuple(facts["input_shape"]), path.parent)
        try:
            network = openvino.Core().read_model(str(graph))
            for key, value in facts.items():
                network.set_rt_info(json.dumps(value), [_SECTION, key])
            openvino.save_model(network, str(path), compress_to_fp16=False)
        except Exception as error:  # the library's errors share no base class of its own
            raise RuntimeFailure(f"openvino refuses the network: {one_line(error)}") from error
        settings_of(graph).unlink()
        graph.unlink()

    def facts(self, path: Path) -> Facts:
        import openvino

        section = openvino.Core().read_model(str(path)).get_rt_info(_SECTION).value
        return {key: json.loads(value) for key, value in section.items()}

    def load(self, path: Path, threads: int) -> Session:
        return RUNTIMES["openvino"].load(None, path, threads=threads, device="cpu")
