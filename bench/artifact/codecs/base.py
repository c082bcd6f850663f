"""What a codec is.

Codecs see a tensor as words: a 1-D array of integers, the values themselves for integer tensors, the bit patterns for
floats. So NaNs, infinities and the sign of zero survive, and "zero" means all bits zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Words = NDArray[Any]  # 1-D, integer, contiguous


class Codec(ABC):
    """A lossless code for words. Stateless; `name` is what files and ledgers call it."""

    name: ClassVar[str]

    @abstractmethod
    def encode(self, words: Words) -> bytes | None:
        """The code, or None where this codec has nothing to gain over plain storage."""

    @abstractmethod
    def decode(self, data: bytes, dtype: np.dtype[Any], count: int) -> Words:
        """A new array of `count` words.

        Raises:
            ValueError: `data` is not a code of that many words. Never allocates for more than `count` words and a
                small multiple of `data`.
        """


def little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def plain_bytes(words: Words) -> int:
    """Size of the words without any code."""
    return int(words.size) * words.itemsize
