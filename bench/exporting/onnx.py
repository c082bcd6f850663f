"""ONNX: a graph with quantise and dequantise nodes around int8 codes; facts are its metadata properties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.exporting.base import Facts, Format
from bench.runtimes import RUNTIMES, Session
from bench.runtimes.onnx_file import settings_of
from bench.runtimes.onnx_graph import all_nodes
from bench.runtimes.onnxruntime import write_onnx

if TYPE_CHECKING:
    from onnx import GraphProto
    from torch.fx import GraphModule


class OnnxFormat(Format):
    name, suffix, default_suffix = "onnx", ".onnx", ".onnx"

    def unavailable(self) -> str | None:
        reason = RUNTIMES["onnxruntime"].unavailable("cpu")
        return reason and f"{reason}: pip install -r requirements.txt"

    def write(self, model: GraphModule, facts: Facts, path: Path) -> None:
        import onnx

        written = write_onnx(model, tuple(facts["input_shape"]), path.parent)
        settings_of(written).unlink()  # it serves sessions of ours; without it they take nothing for granted
        proto = onnx.load(written)
        _drop_unused(proto.graph)
        onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in facts.items()})
        written.unlink()
        onnx.save(proto, path)

    def facts(self, path: Path) -> Facts:
        import onnx

        return {one.key: json.loads(one.value) for one in onnx.load(path).metadata_props}

    def load(self, path: Path, threads: int) -> Session:
        return RUNTIMES["onnxruntime"].load(None, path, threads=threads, device="cpu")


def _drop_unused(graph: GraphProto) -> None:
    """Tensors that no node reads: they cost bytes, and whoever opens the file is warned of each."""
    read = {name for node in all_nodes(graph) for name in node.input} | {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
