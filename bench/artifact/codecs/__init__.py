"""How tensors are stored: lossless codecs, of which each tensor gets the one that makes it smallest.

To add one: a class in a file of its own and one line in `CODECS`.
"""

from __future__ import annotations

from bench.artifact.codecs.base import Codec, Decoded, Shape, Words
from bench.artifact.codecs.dense import Packed, Raw
from bench.artifact.codecs.entropy import Direct
from bench.artifact.codecs.palette import Palette
from bench.artifact.codecs.sparse import BitMask, Gaps
from bench.artifact.codecs.split import Split

_ALL: tuple[Codec, ...] = (Raw(), Packed(), BitMask(), Gaps(), Direct(), Split(), Palette())
CODECS: dict[str, Codec] = {codec.name: codec for codec in _ALL}


def smallest(words: Words, shape: Shape) -> tuple[str, bytes]:
    """Name of the codec that makes `words` smallest, the first of `CODECS` among equals, and the code."""
    codes = ((name, codec.encode(words, shape)) for name, codec in CODECS.items())
    return min(((name, code) for name, code in codes if code is not None), key=lambda one: len(one[1]))


def plain(words: Words, shape: Shape) -> tuple[str, bytes]:
    """Name of the codec that leaves `words` as they are, and the code."""
    return Raw.name, Raw().encode(words, shape)


__all__ = ["CODECS", "Codec", "Decoded", "Shape", "Words", "plain", "smallest"]
