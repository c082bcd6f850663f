"""Codecs for tensors with zeros: where the nonzero words are, then those words.

Positions are a bit mask, or gaps of a fixed width as in Deep Compression (Han et al. 2016, arXiv 1510.00149, section
2): the number of zeros before each nonzero word in b bits, the largest code standing for that many zeros and no word.
The mask costs 1 bit a word, gaps about log2(1/density) + 1.6 bits a nonzero word: gaps win below a tenth or so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.artifact.codecs.base import Codec, Decoded, Shape, Words, plain_bytes
from bench.artifact.codecs.bits import pack, packed_bytes, unpack
from bench.artifact.codecs.dense import Packed, Raw

_DENSE: tuple[Codec, ...] = (Raw(), Packed())  # how the nonzero words themselves are stored; a byte says which
_WIDTHS = range(1, 17)
_COUNT_BYTES = 5
_PART = 1 << 18  # codes


class BitMask(Codec):
    """Layout: one bit a word (1: nonzero), code of the nonzero words."""

    name = "bitmask"

    def encode(self, words: Words, shape: Shape) -> bytes | None:
        keep = words != 0
        if packed_bytes(words.size, 1) + np.count_nonzero(keep) * words.itemsize // 2 >= plain_bytes(words):
            return None
        return np.packbits(keep).tobytes() + _encode_nonzero(words[keep])

    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        count = math.prod(shape)
        size = packed_bytes(count, 1)
        keep = unpack(data[:size], 1, count).view(bool)
        words = np.zeros(count, dtype)
        nonzero = _decode_nonzero(data[size:], dtype, int(keep.sum()))
        words[keep] = nonzero.words
        return Decoded(words, size, 1 + nonzero.tables)


class Gaps(Codec):
    """Layout: bits per gap (1 byte), number of gap codes (5 bytes), gap codes, code of the nonzero words."""

    name = "gaps"

    def encode(self, words: Words, shape: Shape) -> bytes | None:
        positions = np.flatnonzero(words)
        if positions.size * 4 > words.size * 3:
            return None
        zeros = np.diff(positions, prepend=-1) - 1  # before each nonzero word
        width = _best_width(zeros)
        codes = _to_codes(zeros, _escape(width))
        head = bytes([width]) + int(codes.size).to_bytes(_COUNT_BYTES, "little")
        return head + pack(codes.astype(np.uint16), width) + _encode_nonzero(words[positions])

    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        head, count = 1 + _COUNT_BYTES, math.prod(shape)
        if len(data) < head or data[0] not in _WIDTHS:
            raise ValueError("the gap width is missing or out of range")
        width, number = data[0], int.from_bytes(data[1:head], "little")
        end = head + packed_bytes(number, width)
        if end > len(data) or number > count:  # each code passes a word at least
            raise ValueError(f"{number} gaps of {width} bits for {count} words do not fit into {len(data)} bytes")
        codes = unpack(data[head:end], width, number)
        nonzero = _decode_nonzero(data[end:], dtype, int(np.count_nonzero(codes != _escape(width))))
        words, used = np.zeros(count, dtype), 0
        for positions in _to_positions(codes, _escape(width)):
            if positions.size and positions[-1] >= count:
                raise ValueError(f"a nonzero word at {positions[-1]} is outside a tensor of {count}")
            words[positions] = nonzero.words[used : used + positions.size]
            used += positions.size
        return Decoded(words, end - head, head + 1 + nonzero.tables)


def _best_width(zeros: Words) -> int:
    """The bits per gap that make the gap codes smallest."""
    lengths, counts = np.unique(zeros, return_counts=True)
    return min(_WIDTHS, key=lambda width: width * int(((lengths // _escape(width) + 1) * counts).sum()))


def _escape(width: int) -> int:
    """The code of `width` bits that stands for as many zeros and no word."""
    return (1 << width) - 1


def _to_codes(zeros: Words, escape: int) -> Words:
    """Each number of zeros as its escapes, then the rest."""
    escapes = zeros // escape
    codes = np.full(zeros.size + int(escapes.sum()), escape, np.int64)
    codes[np.cumsum(escapes + 1) - 1] = zeros % escape
    return codes


def _to_positions(codes: Words, escape: int) -> Iterator[Words]:
    """Positions of the nonzero words, rising, in parts that are small beside the words."""
    start = 0
    for at in range(0, codes.size, _PART):
        part = codes[at : at + _PART]
        is_word = part != escape
        passed = np.cumsum(part.astype(np.int64) + is_word) + start  # words passed after each code
        start = int(passed[-1])
        yield passed[is_word] - 1


def _encode_nonzero(words: Words) -> bytes:
    codes = [(codec.encode(words, words.shape), index) for index, codec in enumerate(_DENSE)]
    best, index = min(((code, index) for code, index in codes if code is not None), key=lambda one: len(one[0]))
    return bytes([index]) + best


def _decode_nonzero(data: bytes, dtype: np.dtype[Any], count: int) -> Decoded:
    if not data or data[0] >= len(_DENSE):
        raise ValueError("the code of the nonzero words is missing or unknown")
    return _DENSE[data[0]].decode(data[1:], dtype, (count,))
