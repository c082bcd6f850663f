"""The size ledger: where each byte of the file went."""

from __future__ import annotations

import numpy as np

from bench.artifact.codecs import Words
from bench.artifact.header import StoredTensor
from bench.records import TensorEntry

_COUNTED_BYTES = 2  # words up to this size are counted in a table, larger ones are sorted


def entry(tensor: StoredTensor, words: Words) -> TensorEntry:
    """The line of one stored tensor; a tied one counts once, under its first name."""
    is_parameter = tensor.role != "buffer"
    layer, name = _address(tensor.names[0])
    return TensorEntry(
        layer=layer,
        tensor=name,
        shape=tensor.shape,
        codec=tensor.codec,
        parameters=int(words.size) if is_parameter else 0,
        nonzeros=_nonzeros(words, tensor.dtype) if is_parameter else 0,
        information_bits=information_bits(words),
        bytes=tensor.bytes,
    )


def container_entry(size: int) -> TensorEntry:
    """The line of what is no tensor: header, graph, checksums; `size` bytes."""
    return TensorEntry("(container)", "header", (), "zlib", 0, 0, 8.0 * size, size)


def information_bits(words: Words) -> float:
    """Zeroth-order entropy: the number of words times the entropy of the distribution of their values, in bits.

    What an ideal coder that knows the histogram, and nothing of order, would need (Shannon 1948).
    """
    if words.size == 0:
        return 0.0
    if words.itemsize <= _COUNTED_BYTES:
        counts = np.bincount(words.view(f"u{words.itemsize}"))
        counts = counts[counts > 0]
    else:
        counts = np.unique(words, return_counts=True)[1]
    bits = float((counts * np.log2(words.size / counts)).sum())
    return bits + 0.0  # -0.0 of a constant becomes 0.0


def _nonzeros(words: Words, dtype: str) -> int:
    """Values other than zero; the negative zero of a float is a zero."""
    if dtype in {"f32", "f16", "bf16", "f64"}:
        words = words << words.dtype.type(1)  # drops the sign bit
    return int(np.count_nonzero(words))


def _address(name: str) -> tuple[str, str]:
    """Path of the layer and name of the tensor in it; what a constraint stores is named after the tensor it is on."""
    layer, mark, rest = name.partition(".parametrizations.")
    if mark:
        return layer, rest.removesuffix(".original")
    layer, _, rest = name.rpartition(".")
    return layer or "(network)", rest
