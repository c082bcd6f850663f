"""Biases that integer kernels can take: int32 codes of scale s_x * s_w[c] (arXiv 1712.05877, section 2.4).

ONNX Runtime would make such codes of float biases by itself, but lets them overflow where a channel's weights all but
vanish (a batch norm with a tiny factor, folded): the bias is lost and so are predictions. It also makes int8 codes of
float weights that lie between two quantisers, which no file holds and no other runtime computes with. So that pass is
switched off (bench/runtimes/onnxruntime_session.py), and the exported graph holds the codes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

_LARGEST_BIAS_CODE = 2**30  # half of int32's range: the rest is for the products that are added
_NAMES_ANEW = ("Cast", "Identity")
_MOVES_VALUES = {
    "Reshape", "Flatten", "Identity", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "Pad", "Slice", "Split",
}  # fmt: skip


def fit_biases(proto: onnx.ModelProto) -> None:
    """Widens steps of weights that are too small for their channel's bias, and stores biases as codes."""
    constants = _Constants(proto)
    for node in [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) == 3]:
        reads_input = constants.dequantizer(node.input[0])
        reads_weight = constants.producers.get(node.input[1])
        if reads_input is None or reads_weight is None or reads_weight.op_type != "DequantizeLinear":
            continue
        if not constants.is_constant(reads_input.input[1]):  # a step that is found at run time
            continue
        input_scale, bias = constants.value(reads_input.input[1]), constants.value(node.input[2])
        _widen(constants, reads_weight, np.abs(bias) / (input_scale * _LARGEST_BIAS_CODE))
        _store_as_codes(proto.graph, node, bias, input_scale * constants.value(reads_weight.input[1]))


class _Constants:
    """The constants of a graph, by the name under which a node reads them."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.producers = {name: node for node in proto.graph.node for name in node.output}
        self.tensors = {tensor.name: tensor for tensor in proto.graph.initializer}

    def holder(self, name: str) -> onnx.TensorProto:
        """The tensor behind `name`."""
        while name not in self.tensors and self.producers[name].op_type in _NAMES_ANEW:
            name = self.producers[name].input[0]
        if name in self.tensors:
            return self.tensors[name]
        return next(one.t for one in self.producers[name].attribute if one.name == "value")

    def is_constant(self, name: str) -> bool:
        """Whether the graph holds the tensor `name` and does not compute it."""
        while name not in self.tensors and name in self.producers and self.producers[name].op_type in _NAMES_ANEW:
            name = self.producers[name].input[0]
        return name in self.tensors or (name in self.producers and self.producers[name].op_type == "Constant")

    def value(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.holder(name))

    def dequantizer(self, name: str) -> onnx.NodeProto | None:
        """The DequantizeLinear whose values reach `name`, through what only moves values."""
        node = self.producers.get(name)
        while node is not None and node.op_type in _MOVES_VALUES:
            node = self.producers.get(node.input[0])
        return node if node is not None and node.op_type == "DequantizeLinear" else None


def _widen(constants: _Constants, reads_weight: onnx.NodeProto, smallest: np.ndarray) -> None:
    """Rounds the codes of channels whose step is below `smallest` [out] to that step: 2^-30 of their bias, so what the
    coarser codes lose is nothing beside it."""
    codes, scale = constants.value(reads_weight.input[0]), constants.value(reads_weight.input[1])
    if (scale >= smallest).all():
        return
    wider = np.maximum(scale, smallest).astype(np.float32)
    factor = (scale / wider).reshape(-1, *(1,) * (codes.ndim - 1))
    for name, value in (
        (reads_weight.input[0], np.round(codes * factor).astype(np.int8)),
        (reads_weight.input[1], wider),
    ):
        holder = constants.holder(name)
        holder.CopyFrom(numpy_helper.from_array(value, holder.name))


def _store_as_codes(graph: onnx.GraphProto, node: onnx.NodeProto, bias: np.ndarray, scale: np.ndarray) -> None:
    """Replaces the bias [out] that `node` reads by int32 codes and their DequantizeLinear."""
    name = f"{node.output[0]}_bias"
    codes = np.round(bias.astype(np.float64) / scale).astype(np.int32)
    tensors = {f"{name}_codes": codes, f"{name}_scale": scale.astype(np.float32)}
    graph.initializer.extend([numpy_helper.from_array(value, key) for key, value in tensors.items()])
    graph.node.insert(
        list(graph.node).index(node), onnx.helper.make_node("DequantizeLinear", [*tensors], [name], axis=0)
    )
    node.input[2] = name
