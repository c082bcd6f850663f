"""How tensors are stored: lossless codecs, of which each tensor gets the one that makes it smallest.

To add one (an entropy coder, say): a class in a file of its own and one line in `CODECS`.
"""

from __future__ import annotations

from bench.artifact.codecs.base import Codec, Words
from bench.artifact.codecs.dense import Packed, Raw
from bench.artifact.codecs.sparse import BitMask, Gaps

CODECS: dict[str, Codec] = {codec.name: codec for codec in (Raw(), Packed(), BitMask(), Gaps())}


def smallest(words: Words) -> tuple[str, bytes]:
    """Name of the codec that makes `words` smallest, the first of `CODECS` among equals, and the code."""
    codes = ((name, codec.encode(words)) for name, codec in CODECS.items())
    return min(((name, code) for name, code in codes if code is not None), key=lambda one: len(one[1]))


__all__ = ["CODECS", "Codec", "Words", "smallest"]
