"""A file in a general compressor's form: the whole of it in one .xz stream (LZMA2), as the command `xz` makes it.

What is unpacked is bounded, and so is the memory that unpacking takes: a stream may stand for a thousand times its
size.
"""

from __future__ import annotations

import lzma

MAGIC = b"\xfd7zXZ\x00"
_MEMORY = 96 << 20  # the strongest preset's dictionary is 64 MiB
_PIECE = 1 << 20


def pack(data: bytes) -> bytes:
    """`data` as `xz -9e` packs it."""
    return lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=9 | lzma.PRESET_EXTREME)


def unpack(data: bytes, most: int) -> bytes:
    """What `pack` was given, where that is at most `most` bytes.

    Raises:
        ValueError: the stream is damaged, cut off or followed by more, or stands for more bytes.
    """
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    parts, left = [], most + 1
    try:
        parts.append(unpacker.decompress(data, min(_PIECE, left)))
        while not unpacker.eof and (left := most + 1 - sum(map(len, parts))) > 0:
            if unpacker.needs_input:
                raise ValueError("its .xz stream is cut off")
            parts.append(unpacker.decompress(b"", min(_PIECE, left)))
    except lzma.LZMAError as error:
        raise ValueError(f"its .xz stream is damaged: {error}") from error
    if sum(map(len, parts)) > most:
        raise ValueError(f"its .xz stream stands for more than {most} bytes, the most for such a file")
    if unpacker.unused_data:
        raise ValueError("bytes follow its .xz stream")
    return b"".join(parts)


def beginning(data: bytes, count: int) -> bytes:
    """The first `count` bytes of what `pack` was given, fewer where `data` does not say them."""
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY).decompress(data, count)
    except lzma.LZMAError:
        return b""
