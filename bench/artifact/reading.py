"""From a file to a network, trusting nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bench.artifact.codecs import CODECS
from bench.artifact.container import ArtifactError, Frame, limit_of, read_frame, read_header
from bench.artifact.header import Header, MalformedError, StoredTensor, header_from_bytes, short_crc
from bench.artifact.layers import (
    Expected,
    build_layer,
    computed_bytes,
    expected_tensors,
    owner_of,
    place,
    purpose_of,
    sketch,
    storage_bytes,
)
from bench.artifact.ledger import Purpose, container_entry, entry, share_of
from bench.artifact.words import count_of, from_words, torch_type, word_type
from bench.records import TensorEntry
from methods.graph import graph_from_data, modules_called, tensors_read

_LEAST_VALUE_BYTES = 4  # a value counts as much, however narrow its type: it costs time to read
_MAKING = 8  # bases are made as doubles, from whole numbers, with copies


@dataclass(frozen=True)
class Artifact:
    """What a file holds."""

    model: GraphModule  # in eval mode, on the CPU
    metadata: dict[str, Any]
    ledger: tuple[TensorEntry, ...]  # its bytes sum to file_bytes
    sha256: str
    file_bytes: int


def load(path: Path, max_bytes: int | None = None) -> Artifact:
    """Reads and checks a file and rebuilds its network.

    Nothing in the file is executed. What it says it holds is counted before any of it is made: its values, each as four
    bytes or more, and eight times what layers compute themselves. A short code may stand for many values, so that is
    refused beyond 256 MiB or, where this is more, 2000 times the file's size. Reading peaks at twice what is counted,
    300 MiB and ten times the file's size, all in all at most. A file in .xz form is unpacked before that, to no more
    bytes than may be counted.

    max_bytes: of what is counted, in place of that limit: less for files of strangers, more for a very large network
        that is nearly all zero.

    Raises:
        ArtifactError: the file is missing, damaged, truncated, of another version, holds more than the limit, or
            describes no network.
    """
    frame = read_frame(path, max_bytes)
    limit = limit_of(frame.file_bytes) if max_bytes is None else max_bytes
    try:
        return _rebuild(frame, limit)
    except Exception as error:  # whatever a strange file provokes is said in one way
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ArtifactError(f"{path} cannot be read ({reason}): make it again") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a file; its tensors are not looked at.

    Raises:
        ArtifactError: as `load`.
    """
    data = read_header(path)
    try:
        return header_from_bytes(data).metadata
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): make it again") from error


def _rebuild(frame: Frame, limit: int) -> Artifact:
    header = header_from_bytes(frame.header)
    codes = _cut(frame, header.tensors)
    sketches, computed = _sketches(header, limit)
    stored = _check_tensors(header, sketches, limit - computed)
    purposes = {f"{path}.{name}": purpose_of(layer, name) for path, layer in sketches.items()
                for name in expected_tensors(layer)}  # fmt: skip
    tensors, ledger = _decode(header.tensors, codes, purposes)
    root = nn.Module()
    for row in header.layers:
        if row.same_as is None:
            own = {name: stored[f"{row.path}.{name}"] for name in expected_tensors(sketches[row.path])}
            plain = [one for name, one in own.items() if not name.startswith("parametrizations.")]  # read as they are
            layer = build_layer(row, sketches[row.path], _computing_type(plain))
            _fill(layer, {name: tensors[f"{row.path}.{name}"] for name in own})
            sketches[row.path] = layer
        place(root, row.path, sketches[row.same_as or row.path])
    _place_free_tensors(root, header, tensors)
    model = graph_from_data(header.graph, root).eval()
    _check_complete(model, header, tensors)
    if frame.unpacked_bytes > frame.file_bytes:
        ledger = [share_of(line, frame.file_bytes, frame.unpacked_bytes) for line in ledger]
    overhead = container_entry(frame.file_bytes - sum(line.bytes for line in ledger))
    return Artifact(model, header.metadata, (overhead, *ledger), frame.sha256, frame.file_bytes)


def _cut(frame: Frame, rows: tuple[StoredTensor, ...]) -> list[memoryview]:
    """The code of each tensor."""
    total = sum(row.bytes for row in rows)
    if total != len(frame.tensors):
        raise MalformedError(f"its tensors take {len(frame.tensors)} bytes, not {total}: truncated or extended")
    codes, start = [], 0
    for row in rows:
        codes.append(frame.tensors[start : start + row.bytes])
        start += row.bytes
        if short_crc(codes[-1]) != row.crc:
            raise MalformedError(f"tensor {row.names[0]} is damaged")
    if not frame.whole:
        raise MalformedError("its checksum does not match")
    return codes


def _sketches(header: Header, limit: int) -> tuple[dict[str, nn.Module], int]:
    """The layers without storage, by path, and what it takes to make what they compute themselves: at most `limit`."""
    sketches: dict[str, nn.Module] = {}
    size = 0
    for row in header.layers:
        if row.path in sketches or row.same_as is not None:
            continue
        sketches[row.path] = sketch(row)
        size += _MAKING * computed_bytes(sketches[row.path])
        if max(size, storage_bytes(sketches[row.path])) > limit:
            raise MalformedError(f"its layers would take more than {limit} bytes of memory, the most for such a file")
    if any(row.same_as not in sketches for row in header.layers if row.same_as is not None):
        raise MalformedError("a layer is the same as one that is not there")
    return sketches, size


def _check_tensors(header: Header, sketches: dict[str, nn.Module], limit: int) -> dict[str, StoredTensor]:
    """The rows by name, once types and shapes are those of the layers and all take at most `limit` bytes."""
    sizes = (max(torch_type(row.dtype).itemsize, _LEAST_VALUE_BYTES) for row in header.tensors)
    if sum(count_of(row.shape) * size for row, size in zip(header.tensors, sizes, strict=True)) > limit:
        raise MalformedError(f"its tensors would take more than {limit} bytes of memory, the most for such a file")
    names = [name for row in header.tensors for name in row.names]
    stored = {name: row for row in header.tensors for name in row.names}
    if len(names) != len(stored):
        raise MalformedError("a tensor is stored twice")
    expected = {f"{path}.{name}": one for path, layer in sketches.items()
                for name, one in expected_tensors(layer).items()}  # fmt: skip
    if missing := expected.keys() - stored.keys():
        raise MalformedError(f"tensor {min(missing)} is missing")
    if strange := stored.keys() - expected.keys() - set(_free_names(header)):
        raise MalformedError(f"no layer has the tensor {min(strange)}")
    for name, one in expected.items():
        _check_tensor(name, stored[name], one)
    for row in header.tensors:
        if row.codec not in CODECS:
            raise MalformedError(f"tensor {row.names[0]} has the unknown codec {row.codec!r}")
        if row.role == "trained" and not torch_type(row.dtype).is_floating_point:
            raise MalformedError(f"tensor {row.names[0]} is trained and of type {row.dtype}")
    return stored


def _check_tensor(name: str, row: StoredTensor, expected: Expected) -> None:
    dtype = torch_type(row.dtype)
    if row.shape != expected.shape:
        raise MalformedError(f"tensor {name} has the shape {list(row.shape)}, its layer {list(expected.shape)}")
    if (row.role != "buffer") != expected.is_parameter:
        raise MalformedError(f"tensor {name} is a {row.role} tensor, which its layer does not take")
    fits = dtype == expected.dtype or (dtype.is_floating_point and expected.dtype.is_floating_point)
    if not (fits or expected.is_constrained):
        raise MalformedError(f"tensor {name} is of type {dtype}, its layer takes {expected.dtype}")


def _decode(
    rows: tuple[StoredTensor, ...], codes: list[memoryview], purposes: dict[str, Purpose]
) -> tuple[dict[str, Tensor], list[TensorEntry]]:
    """The tensors by name, tied ones the same object, and their lines of the ledger."""
    tensors, ledger = {}, []
    for row, code in zip(rows, codes, strict=True):
        try:
            decoded = CODECS[row.codec].decode(bytes(code), word_type(row.dtype), row.shape)
            tensor = from_words(decoded.words, row.dtype, row.shape)
        except ValueError as error:
            raise MalformedError(f"tensor {row.names[0]}: {error}") from error
        ledger.append(entry(row, decoded, purposes.get(row.names[0], "values")))
        if row.role != "buffer":
            tensor = nn.Parameter(tensor, requires_grad=row.role == "trained")
        tensors.update(dict.fromkeys(row.names, tensor))
    return tensors, ledger


def _fill(layer: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Puts the tensors themselves, not copies, into `layer`."""
    for name, parameter in layer.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(tensors[name].requires_grad)  # torch passes this on to the tensor that is put in
    layer.load_state_dict(tensors, strict=True, assign=True)


def _computing_type(rows: Any) -> torch.dtype | None:
    """The floating type that a layer's tensors have in common, if they do: what it computes itself takes it too."""
    types = {torch_type(row.dtype) for row in rows if torch_type(row.dtype).is_floating_point}
    return types.pop() if len(types) == 1 else None


def _free_names(header: Header) -> Iterator[str]:
    """Names of the tensors that are in no layer."""
    prefixes = tuple(f"{row.path}." for row in header.layers)
    yield from (name for row in header.tensors for name in row.names if not name.startswith(prefixes))


def _place_free_tensors(root: nn.Module, header: Header, tensors: dict[str, Tensor]) -> None:
    for path in _free_names(header):
        owner, name = owner_of(root, path)
        if isinstance(tensors[path], nn.Parameter):
            owner.register_parameter(name, tensors[path])  # type: ignore[arg-type]
        else:
            owner.register_buffer(name, tensors[path])


def _check_complete(model: GraphModule, header: Header, tensors: dict[str, Tensor]) -> None:
    """The graph uses every layer and tensor of the file, and nothing of it is without values."""
    if modules_called(model).keys() != {row.path for row in header.layers}:
        raise MalformedError("the graph does not call the layers that are stored")
    if not set(_free_names(header)) <= set(tensors_read(model)):
        raise MalformedError("a stored tensor is read by nothing")
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise MalformedError("a tensor of a layer has no values")
