"""The .onnx graph in the form in which OpenVINO computes what it says.

Where a sum reads a quantised convolution, the library (2026.4.1) adds inside the convolution's kernel and leaves out
the rounding in between: closer to float32, but not what the file says and the other runtimes compute; up to 0.8 % of
the predictions of a small residual network then differ. A pooling of single values between quantising and dequantising
keeps the two apart; it cost 2 to 3 % of the time of a resnet18.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.parts import part_of
from bench.runtimes.onnxruntime import write_onnx

if TYPE_CHECKING:
    import onnx
    from torch.fx import GraphModule


def write_for_openvino(model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path:
    """Exports `model` for inputs [n, *input_shape] and returns the file.

    Raises:
        RuntimeFailure: the network cannot be exported.
    """
    path = write_onnx(model, input_shape, folder)
    keep_roundings(path)
    return path


def keep_roundings(path: Path) -> int:
    """Sets a pooling of single values behind each quantised convolution that a sum reads, in the file; how many."""
    import onnx

    proto = onnx.load(path)
    producers = {name: node for node in proto.graph.node for name in node.output}
    held: set[str] = set()
    for total in [node for node in proto.graph.node if node.op_type == "Add"]:
        for name in total.input:
            reader = producers.get(name)
            if reader is None or reader.op_type != "DequantizeLinear" or reader.input[0] in held:
                continue
            rounded = producers.get(reader.input[0])
            if rounded is not None and _rounds_a_convolution(rounded, producers):
                pooled = f"{reader.input[0]}_kept"
                pooling = onnx.helper.make_node("MaxPool", [reader.input[0]], [pooled], kernel_shape=[1, 1])
                proto.graph.node.insert(list(proto.graph.node).index(reader), pooling)
                held.add(pooled)
                reader.input[0] = pooled
    part = part_of(path)
    onnx.save(proto, part)
    os.replace(part, path)
    return len(held)


def _rounds_a_convolution(node: onnx.NodeProto, producers: dict[str, onnx.NodeProto]) -> bool:
    """Whether `node` quantises what a two-dimensional convolution computes, through a ReLU at most."""
    before = producers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
    if before is not None and before.op_type in ("Relu", "Clip"):
        before = producers.get(before.input[0])
    return before is not None and before.op_type == "Conv" and _axes(before) == 2


def _axes(convolution: onnx.NodeProto) -> int:
    """Of the images: the lengths of its kernel."""
    return next((len(one.ints) for one in convolution.attribute if one.name == "kernel_shape"), 2)
