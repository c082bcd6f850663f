"""Entropy codes: each symbol in about as many bits as it is surprising (Shannon 1948).

Models adapt, so none is stored; the contexts that make a tensor smallest are tried on a part of it (passes.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bench.artifact.codecs import numbers
from bench.artifact.codecs.base import Codec, Decoded, Shape, Words, unsigned
from bench.artifact.codecs.coder import Reader, Writer
from bench.artifact.codecs.passes import Alphabet, Layout, run

_MOST_REACH = 2047
_FARTHEST = 1 << 62  # from zero: sums around it stay within 64 bits
_TRIED = 1 << 17  # words on which layouts are tried
_GAIN = 0.997  # contexts take time, so they must save this much
_LINES, _KERNEL = 1, 2
_SIDES = (2, 3, 4, 5, 6, 7, 8, 14, 16, 28, 32)  # of feature maps that linear layers read


class Direct(Codec):
    """Integers of a small range, each a symbol: codes of weights, indices into codebooks, masks.

    Layout: contexts (1 byte), side of a kernel, word in the centre, greatest distance from it, range code.
    """

    name = "range"

    def encode(self, words: Words, shape: Shape) -> bytes | None:
        if words.size == 0:
            return None
        low, high = int(words.min()), int(words.max())
        if high - low > _MOST_REACH or max(-low, high) > _FARTHEST:
            return None
        centre = 0 if low <= 0 <= high else low + int(np.bincount(_above(words, low)).argmax())
        reach = max(high - centre, centre - low)
        alphabet = _alphabet(centre, reach)
        square, layout = best_layout(words, shape, alphabet)
        return pack_layout(square, layout) + numbers.write(centre, reach) + coded(words, alphabet, layout)

    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        layout, at = unpack_layout(data, shape)
        (centre, reach), start = numbers.read(data, at, 2)
        if not (0 <= reach <= _MOST_REACH and abs(centre) <= _FARTHEST and layout.fits(_alphabet(centre, reach))):
            raise ValueError(f"the symbols of a code are {reach} on both sides of {centre}")
        reader, words = Reader(data[start:], reach), np.zeros(math.prod(shape), dtype)
        run(reader, words, _alphabet(centre, reach), layout)
        return Decoded(words, index_bytes(reader, words, len(data) - start) if centre == 0 else 0, start)


def _alphabet(centre: int, reach: int) -> Alphabet:
    return Alphabet(centre - reach, 2 * reach + 1, reach)


def index_bytes(reader: Reader, words: Words, size: int) -> int:
    """Bytes of a range code of `size` bytes that say where the words of a mostly zero tensor are."""
    if 2 * np.count_nonzero(words) >= words.size:
        return 0
    return min(size, round(reader.zero_bits / 8))


def best_layout(words: Words, shape: Shape, alphabet: Alphabet) -> tuple[int, Layout]:
    """Side of the kernel that columns are taken for (0: none), and the layout that makes the first rows smallest."""
    plain = Layout(words.size)
    rows = max(1, _TRIED * shape[0] // words.size) if shape else 1
    best, smallest = (0, plain), math.inf
    for square, layout in [(0, plain), *_layouts(shape)]:
        if not layout.fits(alphabet):
            continue
        part = words[: min(rows, shape[0]) * math.prod(shape[1:])] if shape else words
        tried = replace(layout, rows=part.size // layout.row_size)
        size = len(coded(part, alphabet, tried))
        if size < smallest * (_GAIN if layout.lines or layout.kernel else 1):
            best, smallest = (square, layout), size
    return best


def _layouts(shape: Shape) -> Iterator[tuple[int, Layout]]:
    """The layouts with contexts that tensors of that shape can have."""
    if len(shape) < 2 or math.prod(shape) == 0:
        return
    seen = [0] if len(shape) > 2 else [0, *(side for side in _SIDES if shape[1] % side**2 == 0)]
    for square in seen:
        for lines, kernel in ((True, False), (False, True), (True, True)):
            layout = layout_of(shape, square, lines, kernel)
            if (not kernel and square) or (kernel and layout.taps == 1):
                continue
            yield square, layout


def layout_of(shape: Shape, square: int, lines: bool, kernel: bool) -> Layout:
    """Raises: ValueError: the columns are no kernels of that side."""
    if square:
        if len(shape) != 2 or shape[1] % square**2:
            raise ValueError(f"a tensor of shape {list(shape)} has no kernels of {square} x {square}")
        return Layout(shape[0], shape[1] // square**2, square**2, square, lines, kernel)
    return Layout(shape[0], shape[1], math.prod(shape[2:]), shape[-1] if len(shape) > 2 else 1, lines, kernel)


def pack_layout(square: int, layout: Layout) -> bytes:
    return bytes([layout.lines * _LINES | layout.kernel * _KERNEL, *([square] if layout.kernel else [])])


def unpack_layout(data: bytes, shape: Shape) -> tuple[Layout, int]:
    """The layout and where it ends. Raises: ValueError."""
    flags = data[0] if data else 255
    if flags > (_LINES | _KERNEL):
        raise ValueError("the contexts of a code are missing or unknown")
    if not flags:
        return Layout(math.prod(shape)), 1
    if len(shape) < 2 or math.prod(shape) == 0 or len(data) < 2:
        raise ValueError(f"a tensor of shape {list(shape)} has no contexts")
    kernel = bool(flags & _KERNEL)
    return layout_of(shape, data[1] if kernel else 0, bool(flags & _LINES), kernel), 1 + kernel


def coded(words: Words, alphabet: Alphabet, layout: Layout) -> bytes:
    """The range code of `words`."""
    writer = Writer()
    run(writer, words.copy(), alphabet, layout)
    return writer.to_bytes()


def _above(words: Words, low: int) -> Words:
    """words - low, unsigned: the true difference, also where the signed one would overflow."""
    kind = unsigned(words.dtype)
    return words.view(kind) - np.array(low, words.dtype).view(kind)
