"""Floats and wide integers: the part of a word that repeats is entropy coded, what looks like noise is not."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from bench.artifact.codecs import numbers
from bench.artifact.codecs.base import Codec, Decoded, Shape, Words, little_endian, unsigned
from bench.artifact.codecs.bits import pack, packed_bytes, unpack
from bench.artifact.codecs.coder import Reader
from bench.artifact.codecs.entropy import best_layout, coded, index_bytes, pack_layout, unpack_layout
from bench.artifact.codecs.passes import Alphabet, run

_MOST_SYMBOLS = 2047
_PART = 1 << 18  # words
_SAMPLE = 1 << 16  # words: where there are more, the cut is chosen on so many
_SYMBOL_TYPE = np.dtype("i2")


class _Cut(NamedTuple):
    """Where words are cut, in bits from below, and whether the sign bit first goes from the top to the bottom."""

    low_bits: int
    rotated: bool


_CUTS = {  # by bytes of a word; where floats have exponent and mantissa, signed or all of one sign, and bytes
    1: (),
    2: (_Cut(11, True), _Cut(8, True), _Cut(8, False)),
    4: (_Cut(24, True), _Cut(23, False), _Cut(16, False)),
    8: (_Cut(56, True), _Cut(48, False)),
}


class Split(Codec):
    """Symbol 0 is the most frequent word; 1, 2, ... are upper parts of the others, from the greatest down.

    Of float32 the upper part is the exponent (the sign goes with the mantissa) or sign and exponent.

    Layout: cut (1 byte: its place in the table of its type), most frequent word, greatest upper part, number of
    symbols, contexts, bytes of the lower parts, lower parts of the words of all symbols but 0, range code.
    """

    name = "split"

    def encode(self, words: Words, shape: Shape) -> bytes | None:
        if words.size == 0:
            return None
        cuts = range(len(_CUTS[words.itemsize]))
        part = words[:: max(1, words.size // _SAMPLE)].copy()
        if part.size < words.size:
            tried = {index: _encode(part, part.shape, index) for index in cuts}
            sizes = {index: len(code) for index, code in tried.items() if code is not None}
            return _encode(words, shape, min(sizes, key=sizes.__getitem__)) if sizes else None
        codes = [_encode(words, shape, index) for index in cuts]
        return min((code for code in codes if code is not None), key=len, default=None)

    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        cuts, count = _CUTS[dtype.itemsize], math.prod(shape)
        if not data or data[0] >= len(cuts):
            raise ValueError("the cut of a code is missing or unknown")
        cut, bits = cuts[data[0]], dtype.itemsize * 8
        (base, top, symbols), at = numbers.read(data, 1, 3)
        layout, used = unpack_layout(data[at:], shape)
        (low_size,), start = numbers.read(data, at + used, 1)
        if not (0 <= base < 1 << bits and 0 <= top < 1 << (bits - cut.low_bits) and 0 < symbols <= _MOST_SYMBOLS):
            raise ValueError(f"a code of {symbols} symbols below {top}, the most frequent word {base}, is none")
        if not (0 <= low_size <= len(data) - start and layout.fits(_alphabet(symbols))):
            raise ValueError("the lower parts of a code are cut off, or its contexts do not fit")
        reader, upper = Reader(data[start + low_size :], 0), np.zeros(count, _SYMBOL_TYPE)
        run(reader, upper, _alphabet(symbols), layout)
        lower = _unpack(data[start : start + low_size], cut.low_bits, int(np.count_nonzero(upper)), dtype)
        words, used = np.full(count, base, unsigned(dtype)), 0
        for at in range(0, count, _PART):  # parts, so that the working space stays small beside the words
            part = slice(at, at + _PART)
            others = np.flatnonzero(upper[part])
            high = (top + 1 - upper[part][others].astype(np.int64)).astype(lower.dtype) << lower.dtype.type(
                cut.low_bits
            )
            words[part][others] = lower[used : used + others.size] | high
            used += others.size
            if cut.rotated:
                words[part] = _turned(words[part], -1)
        restored = words.view(dtype)
        return Decoded(restored, 0 if base else index_bytes(reader, restored, len(data) - start - low_size), start)


def _encode(words: Words, shape: Shape, index: int) -> bytes | None:
    """The code with the index-th cut; None where it has too many symbols."""
    cut = _CUTS[words.itemsize][index]
    bits = _turned(words.view(unsigned(words.dtype)), 1) if cut.rotated else words.view(unsigned(words.dtype))
    upper = (bits >> bits.dtype.type(cut.low_bits)).astype(np.int64)
    top, bottom = int(upper.max()), int(upper.min())
    symbols = top - bottom + 2
    if symbols > _MOST_SYMBOLS:
        return None
    base = _most_frequent(bits)
    others = np.flatnonzero(bits != base)
    lower = _pack(bits[others], cut.low_bits)
    values = np.zeros(words.size, _SYMBOL_TYPE)
    values[others] = top + 1 - upper[others]
    square, layout = best_layout(values, shape, _alphabet(symbols))
    head = bytes([index]) + numbers.write(int(base), top, symbols) + pack_layout(square, layout)
    return head + numbers.write(len(lower)) + lower + coded(values, _alphabet(symbols), layout)


def _alphabet(symbols: int) -> Alphabet:
    return Alphabet(0, symbols, 0)


def _most_frequent(bits: Words) -> Any:
    """A word that occurs most often, of a large tensor in a sample; zero where it is one of them."""
    values, counts = np.unique(bits[:: max(1, bits.size // _SAMPLE)], return_counts=True)
    return values[counts.argmax()]  # the first of equals, and zero comes first


def _turned(bits: Words, by: int) -> Words:
    """The bits of each word rotated towards the top by one (by: 1), or back (by: -1)."""
    width = bits.dtype.itemsize * 8
    left, right = (1, width - 1) if by == 1 else (width - 1, 1)
    return bits << bits.dtype.type(left) | bits >> bits.dtype.type(right)


def _pack(bits: Words, width: int) -> bytes:
    """The lowest `width` bits of each word."""
    if width % 8:
        return pack(bits & bits.dtype.type((1 << width) - 1), width)
    plain = np.ascontiguousarray(bits.astype(little_endian(bits.dtype), copy=False))
    return plain.view(np.uint8).reshape(-1, bits.itemsize)[:, : width // 8].tobytes()


def _unpack(data: bytes, width: int, count: int, dtype: np.dtype[Any]) -> Words:
    """`count` words of which the lowest `width` bits are given. Raises: ValueError: `data` has another size."""
    if width % 8:
        return unpack(data, width, count, unsigned(dtype))
    if len(data) != packed_bytes(count, width):
        raise ValueError(f"{count} values of {width} bits cannot be {len(data)} bytes")
    parts = np.zeros((count, dtype.itemsize), np.uint8)
    parts[:, : width // 8] = np.frombuffer(data, np.uint8).reshape(count, width // 8)
    return parts.reshape(-1).view(little_endian(unsigned(dtype))).astype(unsigned(dtype), copy=False)
