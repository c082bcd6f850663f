"""Unsigned integers of a fixed number of bits, packed without gaps, most significant bit first."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.artifact.codecs.base import Words

_CHUNK = 1 << 17  # values at a time; a multiple of 8, so that every chunk but the last ends on a byte


def packed_bytes(count: int, width: int) -> int:
    """Size of `count` values of `width` bits."""
    return (count * width + 7) // 8


def pack(values: Words, width: int) -> bytes:
    """values: unsigned, below 2**width."""
    shifts = np.arange(width - 1, -1, -1).astype(values.dtype)
    parts = []
    for start in range(0, values.size if width else 0, _CHUNK):
        bits = (values[start : start + _CHUNK, None] >> shifts) & values.dtype.type(1)  # [values, width]
        parts.append(np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes())
    return b"".join(parts)


def unpack(data: bytes, width: int, count: int, dtype: np.dtype[Any] | None = None) -> Words:
    """`count` values of an unsigned type: the one given, or the smallest of 8, 16 or 32 bits that holds `width` bits.

    Raises:
        ValueError: `data` has another size than that many values.
    """
    if len(data) != packed_bytes(count, width):
        raise ValueError(f"{count} values of {width} bits cannot be {len(data)} bytes")
    dtype = dtype or np.dtype(np.uint8 if width <= 8 else np.uint16 if width <= 16 else np.uint32)
    values = np.zeros(count, dtype)
    for start in range(0, count if width else 0, _CHUNK):
        stop = min(start + _CHUNK, count)
        packed = np.frombuffer(data[start * width // 8 : packed_bytes(stop, width)], np.uint8)
        bits = np.unpackbits(packed, count=(stop - start) * width).reshape(-1, width)
        for bit in range(width):
            values[start:stop] |= bits[:, bit].astype(dtype) << dtype.type(width - 1 - bit)
    return values
