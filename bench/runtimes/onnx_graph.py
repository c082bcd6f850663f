"""What an optimised .onnx graph multiplies with, read from the types of its tensors. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from bench.runtimes.kernels import UNKNOWN

_INT8 = {  # and which input is the weight, whose type tells the kernel
    "QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3, "ConvInteger": 1, "MatMulInteger": 1, "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
}  # fmt: skip
_FLOAT = (  # the last one reads weights of few bits back by itself: what it multiplies has the type of its input
    "Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Einsum",
    "MultiHeadAttention", "Attention", "GroupQueryAttention",
    "MatMulNBits",
)  # fmt: skip
_PRECISIONS = {1: "fp32", 2: "int8", 3: "int8", 10: "fp16", 11: "fp64", 16: "bf16"}  # onnx.TensorProto.DataType
_UINT8 = 2


def products(graph: Any) -> Counter[tuple[str, str]]:
    """How often each (precision, kernel) multiplies in one pass, integer kernels first."""
    types, nodes = _types(graph), list(all_nodes(graph))
    calls: Counter[tuple[str, str]] = Counter()
    for kind in (*_INT8, *_FLOAT):
        for node in nodes:
            if node.op_type == kind:
                calls[_precision(node, types), kind] += 1
    return calls


def has_unsigned_weights(graph: Any) -> bool:
    """Whether the runtime has turned int8 weights into uint8 ones: slower, but their products cannot saturate."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return any(types.get(_weight(node)) == _UINT8 for node in all_nodes(graph) if node.op_type in _INT8)


def forms_weights(graph: Any) -> bool:
    """Whether some product reads nothing that depends on the images: constants that the runtime could not fold."""
    depends = {one.name for one in graph.input} - {tensor.name for tensor in graph.initializer}
    formed = False
    for node in graph.node:  # in an order in which they can run
        if depends.isdisjoint(node.input):
            formed = formed or node.op_type in (*_INT8, *_FLOAT)
        else:
            depends.update(node.output)
    return formed


def _weight(node: Any) -> str:
    place = _INT8[node.op_type]
    return node.input[place] if len(node.input) > place else ""


def _precision(node: Any, types: dict[str, int]) -> str:
    """Of integer kernels the weight's type; of others that of the first input of a known type, else of the output."""
    names: Sequence[str] = [_weight(node)] if node.op_type in _INT8 else [*node.input, *node.output]
    known = [_PRECISIONS[types[name]] for name in names if types.get(name) in _PRECISIONS]
    if node.op_type not in _INT8:
        known = [one for one in known if one != "int8"]
    return known[0] if known else UNKNOWN


def _types(graph: Any) -> dict[str, int]:
    """Types of tensors by name, as far as the graph tells: what optimisation puts between nodes has none."""
    types = {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in all_nodes(graph):
        if node.op_type == "Cast":
            types[node.output[0]] = next(one.i for one in node.attribute if one.name == "to")
    return types


def all_nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those of subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g)
