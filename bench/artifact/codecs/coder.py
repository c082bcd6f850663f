"""Arithmetic coding of symbols: constriction's range coder (Bamler 2022, arXiv 2201.01741; Martin 1979).

A range coder and not ANS (Duda 2013, arXiv 1311.2540), which constriction has as well: both take the same room and time
within a few percent, and a queue lets writer and reader walk a tensor in the same order, each model made of the symbols
before. Weights reach the coder as float64 made of whole numbers by one product and one division, which IEEE 754 fixes
to the last bit, so that a file reads alike on every machine: no logarithm, no sum of fractions of ours. (In float32 the
coder's own sum of them rounds so much that a rare symbol may get no probability at all.)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int32]
_model = constriction.stream.model
_queue = constriction.stream.queue


class Coder(ABC):
    """Passes symbols in one direction. Writer and reader run the same code around it."""

    @abstractmethod
    def code(self, symbols: Symbols, weights: NDArray[np.float64]) -> Symbols:
        """The symbols themselves: those given when writing, as many others when reading.

        symbols: contiguous; a reader takes their number alone.
        weights: of each symbol of the alphabet, to any scale.
        """


class Writer(Coder):
    def __init__(self) -> None:
        self._encoder = _queue.RangeEncoder()

    def code(self, symbols: Symbols, weights: NDArray[np.float64]) -> Symbols:
        if weights.size > 1:  # the coder knows no alphabet of one symbol
            self._encoder.encode(symbols, _model.Categorical(weights, perfect=False))
        return symbols

    def to_bytes(self) -> bytes:
        """All that was coded, without the zeros at the end, which a reader takes to be there."""
        return self._encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


class Reader(Coder):
    """Noise is read as some symbols or refused; it never takes more memory than the symbols.

    Raises:
        ValueError: while reading, where `data` is no code.
    """

    def __init__(self, data: bytes, zero: int) -> None:
        """zero: the symbol that stands for zero, for `zero_bits`."""
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._decoder = _queue.RangeDecoder(words)
        self._zero = zero
        self.zero_bits = 0.0  # what it took to say which symbols are zero

    def code(self, symbols: Symbols, weights: NDArray[np.float64]) -> Symbols:
        if weights.size < 2:
            return np.zeros(symbols.size, np.int32)
        try:
            decoded: Any = self._decoder.decode(_model.Categorical(weights, perfect=False), symbols.size)
        except (AssertionError, ValueError) as error:
            raise ValueError(f"not a code of these symbols ({error})") from error
        total, likely = float(weights.sum(dtype=np.float64)), float(weights[self._zero])
        zeros = symbols.size - int(np.count_nonzero(decoded - np.int32(self._zero)))
        self.zero_bits += zeros * math.log2(total / likely)
        self.zero_bits += (symbols.size - zeros) * math.log2(total / max(total - likely, 1e-30 * total))
        return decoded
