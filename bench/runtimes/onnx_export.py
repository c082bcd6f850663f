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

from baselines.parts import part_of
from bench.records import write_json
from bench.runtimes.integer_bias import fit_biases
from bench.runtimes.lowering import spelled_out
from bench.runtimes.onnx_file import settings_of
from bench.runtimes.precision import stored_half

OPSET = 18
_LARGEST_BATCH = 65536


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
            spelled_out(model, "onnx").eval().cpu(),
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
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ValueError("the network works on batches of one size only")
    _drop_remarks(proto)
    _drop_zero_biases(proto)
    fit_biases(proto)
    half = stored_half(model)
    stored = {torch.float16: "f16", torch.bfloat16: "bf16"}.get(half, "f32") if half else "f32"
    write_json({"largest_weight_code": _largest_weight_code(proto), "precision": stored}, settings_of(path))
    part = part_of(path)
    onnx.save(proto, part)
    os.replace(part, path)


def _drop_remarks(proto: onnx.ModelProto) -> None:
    """Leaves out what the exporter notes of each node: traces through the files of the machine that it ran on."""
    for held in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer,
                 *proto.graph.input, *proto.graph.output, *proto.functions):  # fmt: skip
        held.doc_string = ""
        del held.metadata_props[:]


def _drop_zero_biases(proto: onnx.ModelProto) -> None:
    """Leaves out the biases of convolutions that have none, which the exporter writes as zeros computed from the input:
    behind those no runtime fuses a batch norm or a ReLU with the convolution. What computed them goes too."""
    producers = {name: node for node in proto.graph.node for name in node.output}
    for node in proto.graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and _is_computed_zero(node.input[2], producers):
            del node.input[2]
    used = {one.name for one in proto.graph.output}
    for node in reversed(list(proto.graph.node)):
        if used.isdisjoint(node.output):
            proto.graph.node.remove(node)
        else:
            used.update(node.input)


def _is_computed_zero(name: str, producers: dict[str, onnx.NodeProto]) -> bool:
    while (node := producers.get(name)) is not None and node.op_type in ("Expand", "CastLike"):
        name = node.input[0]
    if node is None or node.op_type != "Constant" or node.attribute[0].name != "value":
        return False
    return not numpy_helper.to_array(node.attribute[0].t).any()


def _largest_weight_code(proto: onnx.ModelProto) -> int:
    codes = [numpy_helper.to_array(one) for one in proto.graph.initializer if one.data_type == onnx.TensorProto.INT8]
    return max((int(np.abs(one.astype(np.int16)).max(initial=0)) for one in codes), default=0)
