"""What a codec is.

Codecs see a tensor as words: a 1-D array of integers in row-major order, the values themselves for integer tensors, the
bit patterns for floats. So NaNs, infinities and the sign of zero survive, and "zero" means all bits zero. They see its
shape as well, because what a row or a column holds says much of the next value in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Words = NDArray[Any]  # 1-D, integer, contiguous
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Decoded:
    """What a code holds, and what its bytes are spent on; those left over are spent on values."""

    words: Words  # a new array
    indices: int = 0  # bytes that say which words are zero, of a tensor that is mostly zero
    tables: int = 0  # bytes that say how to read the others


class Codec(ABC):
    """A lossless code for words. Stateless; `name` is what files and ledgers call it."""

    name: ClassVar[str]

    @abstractmethod
    def encode(self, words: Words, shape: Shape) -> bytes | None:
        """The code, or None where this codec has nothing to gain over plain storage.

        shape: of the tensor; its product is the number of words.
        """

    @abstractmethod
    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        """The words of a tensor of that shape.

        Raises:
            ValueError: `data` is not a code of that many words. Never allocates for more than those words and a small
                multiple of `data` beside a fixed working space.
        """


def little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Integers of the same size."""
    return np.dtype(f"u{dtype.itemsize}")


def plain_bytes(words: Words) -> int:
    """Size of the words without any code."""
    return int(words.size) * words.itemsize
