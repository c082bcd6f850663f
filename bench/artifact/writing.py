"""From a network to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.fx import GraphModule

from bench.artifact import xz
from bench.artifact.codecs import plain, smallest
from bench.artifact.container import frame, write_whole
from bench.artifact.header import Header, Role, StoredLayer, StoredTensor, header_to_bytes, short_crc
from bench.artifact.layers import describe_layers, expected_tensors, sketch
from bench.artifact.words import to_words, type_name
from methods.base import Writing
from methods.graph import graph_from_data, graph_to_data, modules_called, tensor_at, tensors_read


def save(model: GraphModule, path: Path, metadata: dict[str, Any], writing: Writing = "smallest") -> None:
    """Writes `model`, whole or not at all; the same model and metadata give the same bytes.

    writing: "smallest" stores each tensor in the smallest of our codes; "xz" stores plain values and packs the whole
    file by LZMA.

    Lossless in training form (constraints, their buffers, the tensors under them) as in shipped form. What the graph
    does not call is left out.

    Raises:
        ValueError: the network holds what a file cannot, or what would not be read back as it is.
        TypeError: the metadata holds what JSON does not.
        OSError: the file cannot be written; what was at `path` is still there.
    """
    graph = graph_to_data(model)
    graph_from_data(graph, model)  # a file that could not be read must not be written
    layers = describe_layers(model)
    _check_layers(model, layers)
    encode = plain if writing == "xz" else smallest
    rows, codes = [], []
    for names, tensor in _tied(_tensors(model, layers)):
        codec, code = encode(to_words(tensor), tuple(tensor.shape))
        shape, crc = tuple(tensor.shape), short_crc(code)
        rows.append(StoredTensor(names, _role(tensor), type_name(tensor), shape, codec, len(code), crc))
        codes.append(code)
    header = Header(metadata, graph, layers, tuple(rows))
    data = frame(header_to_bytes(header), codes)
    write_whole(xz.pack(data) if writing == "xz" else data, path)


def _check_layers(model: GraphModule, layers: tuple[StoredLayer, ...]) -> None:
    """Each layer's configuration must make the tensors that the layer has."""
    for row in layers:
        if row.same_as is not None:
            continue
        layer = model.get_submodule(row.path)
        made, has = expected_tensors(sketch(row)), expected_tensors(layer)
        shapes = [{name: one.shape for name, one in tensors.items()} for tensors in (made, has)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"layer {row.path} ({row.kind}) cannot be written: its configuration {row.config} makes the tensors "
                f"{shapes[0]}, it has {shapes[1]}"
            )


def _tensors(model: GraphModule, layers: tuple[StoredLayer, ...]) -> dict[str, Tensor]:
    """Every tensor of the network by path: those of its layers, then those that the graph reads by itself."""
    called = modules_called(model)
    tensors = {
        f"{row.path}.{name}": tensor
        for row in layers
        if row.same_as is None
        for name, tensor in sorted(called[row.path].state_dict(keep_vars=True).items())
    }
    for path in tensors_read(model):
        if not any(path.startswith(f"{layer}.") for layer in called):
            tensors[path] = tensor_at(model, path)
    return tensors


def _tied(tensors: dict[str, Tensor]) -> list[tuple[tuple[str, ...], Tensor]]:
    """Each tensor once, with all its names."""
    names: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    return [(tuple(group), tensors[group[0]]) for group in names.values()]


def _role(tensor: Tensor) -> Role:
    if not isinstance(tensor, nn.Parameter):
        return "buffer"
    return "trained" if tensor.requires_grad else "frozen"
