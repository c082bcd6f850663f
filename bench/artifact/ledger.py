"""The size ledger: where each byte of the file went."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from bench.artifact.codecs import Decoded, Words
from bench.artifact.header import StoredTensor
from bench.artifact.information import information_bits
from bench.records import TensorEntry

Purpose = Literal["values", "scales", "codebooks", "indices"]


def entry(tensor: StoredTensor, decoded: Decoded, purpose: Purpose) -> TensorEntry:
    """The line of one stored tensor; a tied one counts once, under its first name.

    purpose: what the tensor is to its layer. All bytes of scales, codebooks and masks are spent on those; the bytes of
    values are told apart as their codec does.
    """
    is_parameter, words = tensor.role != "buffer", decoded.words
    layer, name = _address(tensor.names[0])
    spent = {f"{purpose}_bytes": tensor.bytes}
    if purpose == "values":
        values = tensor.bytes - decoded.indices - decoded.tables
        spent = {"values_bytes": values, "indices_bytes": decoded.indices, "header_bytes": decoded.tables}
    return TensorEntry(
        layer=layer,
        tensor=name,
        shape=tensor.shape,
        codec=tensor.codec,
        parameters=int(words.size) if is_parameter else 0,
        nonzeros=_nonzeros(words, tensor.dtype) if is_parameter else 0,
        information_bits=information_bits(words),
        bytes=tensor.bytes,
        **spent,
    )


def container_entry(size: int) -> TensorEntry:
    """The line of what is no tensor: header, graph, checksums; `size` bytes, which hold no value, so no information."""
    return TensorEntry("(container)", "header", (), "deflate", 0, 0, 0.0, size, header_bytes=size)


def share_of(line: TensorEntry, file_bytes: int, unpacked_bytes: int) -> TensorEntry:
    """The line of a tensor in a file that a general compressor packed as a whole, whose bytes belong to no tensor: each
    has its share by its size before, rounded down."""

    def share(size: int) -> int:
        return size * file_bytes // unpacked_bytes

    parts = dataclasses.replace(
        line,
        codec="xz",
        values_bytes=share(line.values_bytes),
        indices_bytes=share(line.indices_bytes),
        codebooks_bytes=share(line.codebooks_bytes),
        scales_bytes=share(line.scales_bytes),
        header_bytes=share(line.header_bytes),
    )
    spent = (parts.values_bytes, parts.indices_bytes, parts.codebooks_bytes, parts.scales_bytes, parts.header_bytes)
    return dataclasses.replace(parts, bytes=sum(spent))


def _nonzeros(words: Words, dtype: str) -> int:
    """Values other than zero; the negative zero of a float is a zero."""
    count = int(np.count_nonzero(words))
    if dtype in {"f32", "f16", "bf16", "f64"}:
        count -= int(np.count_nonzero(words == np.iinfo(words.dtype).min))  # the sign bit and no other
    return count


def _address(name: str) -> tuple[str, str]:
    """Path of the layer and name of the tensor in it; what a constraint stores is named after the tensor it is on."""
    layer, mark, rest = name.partition(".parametrizations.")
    if mark:
        return layer, rest.removesuffix(".original")
    layer, _, rest = name.rpartition(".")
    return layer or "(network)", rest
