"""Codecs for tensors in which every word is stored: as it is, or in as many bits as the range of values needs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench.artifact.codecs.base import Codec, Decoded, Shape, Words, little_endian, plain_bytes, unsigned
from bench.artifact.codecs.bits import pack, packed_bytes, unpack

_MAX_WIDTH = 32  # wider ranges gain too little over 64-bit words to be worth a code


class Raw(Codec):
    """Little-endian words, one after the other."""

    name = "raw"

    def encode(self, words: Words, shape: Shape) -> bytes:
        return words.astype(little_endian(words.dtype), copy=False).tobytes()

    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        count = math.prod(shape)
        if len(data) != count * dtype.itemsize:
            raise ValueError(f"{count} words of {dtype.itemsize} bytes cannot be {len(data)} bytes")
        return Decoded(np.frombuffer(data, little_endian(dtype)).astype(dtype))


class Packed(Codec):
    """word - smallest word, in as many bits as the largest difference needs: 0 for a constant, 1 for a mask.

    Layout: width (1 byte), smallest word, packed bits.
    """

    name = "packed"

    def encode(self, words: Words, shape: Shape) -> bytes | None:
        if words.size == 0:
            return None
        low = words.min()
        width = (int(words.max()) - int(low)).bit_length()
        if width > min(_MAX_WIDTH, words.itemsize * 8 - 1):
            return None
        if 1 + words.itemsize + packed_bytes(words.size, width) >= plain_bytes(words):
            return None
        return bytes([width]) + low.astype(little_endian(words.dtype)).tobytes() + pack(_above(words, low), width)

    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        head = 1 + dtype.itemsize
        if len(data) < head or data[0] > min(_MAX_WIDTH, dtype.itemsize * 8 - 1):
            raise ValueError("the bit width is missing or too large")
        low = np.frombuffer(data[1:head], little_endian(dtype)).astype(dtype)[0]
        words = unpack(data[head:], data[0], math.prod(shape), unsigned(dtype)).view(dtype)
        words += low  # wraps where a damaged width says so, never raises
        return Decoded(words, tables=head)


def _above(words: Words, low: Any) -> Words:
    """words - low, unsigned: the true difference, also where the signed one would overflow."""
    return words.view(unsigned(words.dtype)) - low.view(unsigned(words.dtype))
