"""Words of few different values, far apart as integers: floats on a grid or from a codebook."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.artifact.codecs import numbers
from bench.artifact.codecs.base import Codec, Decoded, Shape, Words, little_endian
from bench.artifact.codecs.entropy import Direct

_MOST = 512
_SAMPLE = 1 << 14
_PART = 1 << 18  # words
_RANKS = np.dtype("i2")


class Palette(Codec):
    """Each word by its place among the different ones, counted from zero's where zero is one of them.

    Layout: number of different words, place of zero, the different words, code of the places (`Direct`).
    """

    name = "palette"

    def encode(self, words: Words, shape: Shape) -> bytes | None:
        sample = words[:: max(1, words.size // _SAMPLE)]
        if words.itemsize == 1 or np.unique(sample).size > min(_MOST, sample.size // 2):
            return None
        colours, places = np.unique(words, return_inverse=True)
        if colours.size > _MOST:
            return None
        zero = int(np.searchsorted(colours, 0)) if 0 in colours else 0
        code = Direct().encode((places - zero).astype(_RANKS), shape)
        if code is None:
            return None
        table = colours.astype(little_endian(words.dtype)).tobytes()
        return numbers.write(int(colours.size), zero) + table + code

    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        (count, zero), at = numbers.read(data, 0, 2)
        start = at + count * dtype.itemsize
        if not (0 <= zero < count <= _MOST and start <= len(data)):
            raise ValueError(f"a palette of {count} words with zero at {zero} is none, or cut off")
        colours = np.frombuffer(data[at:start], little_endian(dtype)).astype(dtype)
        places = Direct().decode(data[start:], _RANKS, shape)
        ranks = places.words
        if ranks.size and not (ranks.min() >= -zero and ranks.max() < count - zero):
            raise ValueError("a word is not in the palette")
        words = np.empty(ranks.size, dtype)
        for at in range(0, ranks.size, _PART):
            words[at : at + _PART] = colours[ranks[at : at + _PART].astype(np.intp) + zero]
        return Decoded(words, places.indices if not colours[zero] else 0, start + places.tables)
