"""What a file says of itself: metadata, graph, layers, tensors, as compact JSON.

Reading trusts nothing: every field is checked for its type before it is used.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["buffer", "frozen", "trained"]  # frozen, trained: parameters without and with gradients
_ROLES: tuple[Role, ...] = ("buffer", "frozen", "trained")
_OPERATIONS = ("placeholder", "call_module", "call_function", "call_method", "get_attr", "output")
_MAX_AXES = 16


@dataclass(frozen=True)
class StoredConstraint:
    """A constraint on the tensor of that name."""

    tensor: str
    kind: str
    config: dict[str, Any]


@dataclass(frozen=True)
class StoredLayer:
    """A layer that the graph calls: made of `config`, or the very layer at another path."""

    path: str
    kind: str = ""
    config: dict[str, Any] | None = None
    constraints: tuple[StoredConstraint, ...] = ()
    same_as: str | None = None


@dataclass(frozen=True)
class StoredTensor:
    """A tensor and its code; more than one name where a parameter is tied."""

    names: tuple[str, ...]
    role: Role
    dtype: str
    shape: tuple[int, ...]
    codec: str
    bytes: int
    crc: int  # `short_crc` of the code: it names the tensor where the file's checksum says that something is damaged


@dataclass(frozen=True)
class Header:
    metadata: dict[str, Any]
    graph: list[dict[str, Any]]
    layers: tuple[StoredLayer, ...]
    tensors: tuple[StoredTensor, ...]


class MalformedError(ValueError):
    """A header whose fields are not what they must be."""


def short_crc(code: bytes | memoryview) -> int:
    """The lower 16 bits of the CRC-32 of a tensor's code."""
    return zlib.crc32(code) & 0xFFFF


def header_to_bytes(header: Header) -> bytes:
    """Compact JSON with sorted keys: the same header gives the same bytes.

    Raises:
        TypeError: the metadata or a configuration holds what JSON does not.
    """
    data = {
        "metadata": header.metadata,
        "graph": _graph_rows(header.graph),
        "layers": [_layer_row(layer) for layer in header.layers],
        "tensors": [_tensor_row(tensor) for tensor in header.tensors],
    }
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def header_from_bytes(data: bytes) -> Header:
    """Raises: MalformedError (or another ValueError, or RecursionError for JSON that nests without end)."""
    fields = json.loads(data)
    if not isinstance(fields, dict) or fields.keys() != {"metadata", "graph", "layers", "tensors"}:
        raise MalformedError("the header's parts are not those of an artifact")
    if not isinstance(fields["metadata"], dict):
        raise MalformedError("the metadata is no mapping")
    return Header(
        metadata=fields["metadata"],
        graph=_graph(fields["graph"]),
        layers=tuple(_layer(row) for row in _rows(fields["layers"])),
        tensors=tuple(_tensor(row) for row in _rows(fields["tensors"])),
    )


def _graph_rows(nodes: list[dict[str, Any]]) -> list[Any]:
    """The nodes; one that calls a layer with the node before it is the layer's path alone."""
    before = (None, *(node["name"] for node in nodes))
    short = (
        {"op": "call_module", **_named_after(node["target"], name)} for node, name in zip(nodes, before, strict=False)
    )
    return [node["target"] if node == plain else _node_row(node) for node, plain in zip(nodes, short, strict=True)]


def _graph(rows: Any) -> list[dict[str, Any]]:
    if not isinstance(rows, list):
        raise MalformedError("the graph is no table")
    nodes: list[dict[str, Any]] = []
    for row in rows:
        if isinstance(row, str):
            nodes.append({"op": "call_module", **_named_after(row, nodes[-1]["name"] if nodes else None)})
        else:
            nodes.append(_node(_rows([row])[0]))
    return nodes


def _named_after(path: str, before: str | None) -> dict[str, Any]:
    """The rest of a node that calls the layer at `path` with the node `before`."""
    return {"name": path.replace(".", "_"), "target": path, "args": [{"node": before}], "kwargs": {}}


def _node_row(node: dict[str, Any]) -> list[Any]:
    row = [_OPERATIONS.index(node["op"]), node["name"], node["target"], node["args"]]
    return [*row, node["kwargs"]] if node["kwargs"] else row


def _node(row: list[Any]) -> dict[str, Any]:
    operation, name, target, args, kwargs = [*row, {}] if len(row) == 4 else _of_length(row, 5)
    if not (_is_count(operation) and operation < len(_OPERATIONS)):
        raise MalformedError(f"unknown operation {operation!r}")
    if not (isinstance(args, list) and isinstance(kwargs, dict)):
        raise MalformedError(f"node {name!r} has malformed arguments")
    return {"op": _OPERATIONS[operation], "name": _text(name), "target": _text(target), "args": args, "kwargs": kwargs}


def _layer_row(layer: StoredLayer) -> list[Any]:
    if layer.same_as is not None:
        return [layer.path, layer.same_as]
    constraints = [[one.tensor, one.kind, one.config] for one in layer.constraints]
    row = [layer.path, layer.kind, layer.config]
    return [*row, constraints] if constraints else row


def _layer(row: list[Any]) -> StoredLayer:
    if len(row) == 2:
        return StoredLayer(_text(row[0]), same_as=_text(row[1]))
    path, kind, config, constraints = [*row, []] if len(row) == 3 else _of_length(row, 4)
    stored = (_of_length(one, 3) for one in _rows(constraints))
    return StoredLayer(
        _text(path),
        _text(kind),
        _config(config),
        tuple(StoredConstraint(_text(tensor), _text(kind), _config(config)) for tensor, kind, config in stored),
    )


def _tensor_row(tensor: StoredTensor) -> list[Any]:
    role = _ROLES.index(tensor.role)
    return [list(tensor.names), role, tensor.dtype, list(tensor.shape), tensor.codec, tensor.bytes, tensor.crc]


def _tensor(row: list[Any]) -> StoredTensor:
    names, role, dtype, shape, codec, size, crc = _of_length(row, 7)
    if not isinstance(names, list) or not names:
        raise MalformedError("a tensor has no name")
    if not (isinstance(shape, list) and len(shape) <= _MAX_AXES and all(_is_count(length) for length in shape)):
        raise MalformedError(f"tensor {names[0]!r} has the shape {shape!r}")
    if not (_is_count(role) and role < len(_ROLES) and _is_count(size) and _is_count(crc)):
        raise MalformedError(f"tensor {names[0]!r} has a malformed role, size or checksum")
    return StoredTensor(
        tuple(_text(name) for name in names), _ROLES[role], _text(dtype), tuple(shape), _text(codec), size, crc
    )


def _rows(value: Any) -> list[list[Any]]:
    if not (isinstance(value, list) and all(isinstance(row, list) for row in value)):
        raise MalformedError("a table of the header is malformed")
    return value


def _of_length(row: list[Any], length: int) -> list[Any]:
    if len(row) != length:
        raise MalformedError(f"a row of the header has {len(row)} fields, not {length}")
    return row


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"expected text, got {value!r}")
    return value


def _config(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"expected a configuration, got {value!r}")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
