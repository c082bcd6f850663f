"""The size ledger: where each byte of the file went."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.artifact.codecs import Words
from bench.artifact.header import StoredTensor
from bench.records import TensorEntry

_COUNTED_BYTES = 2  # words up to this size are counted in a table, larger ones are sorted
_PART = 1 << 18  # words


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
    bits = sum(float((counts * np.log2(words.size / counts)).sum()) for counts in _counts(words))
    return bits + 0.0  # -0.0 of a constant becomes 0.0


def _counts(words: Words) -> Iterator[NDArray[np.int64]]:
    """How often each value occurs, in parts that are small beside `words`."""
    if words.itemsize <= _COUNTED_BYTES:
        counts = np.bincount(words.view(f"u{words.itemsize}"))
        yield counts[counts > 0]
        return
    values, start = np.sort(words), 0
    for at in range(0, values.size, _PART):
        changes = np.flatnonzero(values[at + 1 : at + _PART + 1] != values[at : at + _PART][: values.size - at - 1])
        ends = changes + (at + 1)  # where runs of equal values end
        if ends.size:
            yield np.diff(ends, prepend=start)
            start = int(ends[-1])
    yield np.array([values.size - start])


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
