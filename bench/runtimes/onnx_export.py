"""From a network to an .onnx file with a free batch size."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.fx import GraphModule

from bench.records import write_json
from bench.runtimes.lowering import spelled_out
from bench.runtimes.onnxruntime_session import settings_of

OPSET = 18
_LARGEST_BATCH = 65536
_LARGEST_BIAS_CODE = 2**31 - 1


def export(model: GraphModule, input_shape: tuple[int, ...], path: Path) -> None:
    """Writes `model` for inputs [n, *input_shape], any n >= 1, to `path`, whole or not at all,
    and beside it what a session needs to know of it.

    The exporter's own graph optimisation is left out: the runtime does the same when it opens the file.
    """
    example = torch.zeros(2, *input_shape)
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own insides
        program = torch.onnx.export(
            spelled_out(model).eval().cpu(),
            (example,),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    integer_gemm_biases(proto)
    write_json({"largest_weight_code": _largest_weight_code(proto)}, settings_of(path))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    onnx.save(proto, part)
    os.replace(part, path)


def _largest_weight_code(proto: onnx.ModelProto) -> int:
    codes = [numpy_helper.to_array(one) for one in proto.graph.initializer if one.data_type == onnx.TensorProto.INT8]
    return max((int(np.abs(one.astype(np.int16)).max(initial=0)) for one in codes), default=0)


def integer_gemm_biases(proto: onnx.ModelProto) -> None:
    """Stores the bias of each int8 Gemm as int32 codes of scale s_x * s_w[c] (arXiv 1712.05877, section 2.4), in place.

    ONNX Runtime does this by itself for convolutions, but runs a Gemm with a float bias in float32.
    """
    graph = proto.graph
    producers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Gemm" and len(node.input) == 3]:
        reads_input, reads_weight = _dequantizer(node.input[0], producers), producers.get(node.input[1])
        if reads_input is None or reads_weight is None or reads_weight.op_type != "DequantizeLinear":
            continue
        bias = _constant(node.input[2], producers, constants)
        scale = _constant(reads_input.input[1], producers, constants) * _constant(
            reads_weight.input[1], producers, constants
        )
        codes = np.round(bias.astype(np.float64) / scale)
        if np.abs(codes).max(initial=0) > _LARGEST_BIAS_CODE:
            continue  # a channel whose weights all but vanish: float32 it stays
        _replace_bias(graph, node, codes.astype(np.int32), scale.astype(np.float32))


def _replace_bias(graph: onnx.GraphProto, node: onnx.NodeProto, codes: np.ndarray, scale: np.ndarray) -> None:
    name = f"{node.output[0]}_bias"
    graph.initializer.extend(
        [numpy_helper.from_array(codes, f"{name}_codes"), numpy_helper.from_array(scale, f"{name}_scale")]
    )
    read = onnx.helper.make_node("DequantizeLinear", [f"{name}_codes", f"{name}_scale"], [name], axis=0)
    graph.node.insert(list(graph.node).index(node), read)
    node.input[2] = name


def _dequantizer(name: str, producers: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The DequantizeLinear whose values reach `name`, through what only moves values."""
    node = producers.get(name)
    while node is not None and node.op_type in ("Reshape", "Flatten", "Identity", "Squeeze", "MaxPool", "Transpose"):
        node = producers.get(node.input[0])
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _constant(name: str, producers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]) -> np.ndarray:
    while name not in constants and producers[name].op_type in ("Cast", "Identity"):
        name = producers[name].input[0]
    if name in constants:
        return numpy_helper.to_array(constants[name])
    (value,) = (one.t for one in producers[name].attribute if one.name == "value")
    return numpy_helper.to_array(value)
