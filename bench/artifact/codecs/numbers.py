"""Whole numbers in few bytes: seven bits a byte, least significant first; the eighth says that more follow."""

from __future__ import annotations

_MOST_BYTES = 10  # 70 bits


def write(*values: int) -> bytes:
    """values: of either sign; small ones, 0, -1, 1, -2, ..., take fewest bytes."""
    return b"".join(_write(2 * value if value >= 0 else -2 * value - 1) for value in values)


def _write(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def read(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """`count` numbers from byte `at` on, and where they end.

    Raises:
        ValueError: there are not as many.
    """
    values = []
    for _ in range(count):
        folded = 0
        for index in range(_MOST_BYTES):
            if at >= len(data):
                raise ValueError("a number of the code is cut off")
            byte = data[at]
            at += 1
            folded |= (byte & 127) << 7 * index
            if byte < 128:
                break
        else:
            raise ValueError("a number of the code does not end")
        values.append(folded >> 1 if folded % 2 == 0 else -(folded >> 1) - 1)
    return values, at
