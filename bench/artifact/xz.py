"""A file in a general compressor's form: .xz streams (LZMA2), one after another, as the command `xz` makes them.

Large files are packed in blocks by as many threads as there are cores: the same blocks, and so the same bytes, on any
machine. What is unpacked is bounded, and so is the memory that unpacking takes: a stream may stand for a thousand times
its size.
"""

from __future__ import annotations

import lzma
import os
from concurrent.futures import ThreadPoolExecutor

MAGIC = b"\xfd7zXZ\x00"
BLOCK = 8 << 20  # bytes of a stream that is not the last
_MEMORY = 96 << 20  # the strongest preset's dictionary is 64 MiB
_PIECE = 1 << 20


def pack(data: bytes) -> bytes:
    """`data` as `xz -9e` packs each BLOCK of it."""
    view = memoryview(data)
    blocks = [view[start : start + BLOCK] for start in range(0, len(data), BLOCK)] or [view]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the compressor lets other threads run
        return b"".join(pool.map(_packed, blocks))


def _packed(block: memoryview) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": BLOCK}]  # all of the block
    return lzma.compress(block, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=filters)


def unpack(data: bytes, most: int) -> bytes:
    """What `pack` was given, where that is at most `most` bytes.

    Raises:
        ValueError: a stream is damaged, cut off or followed by something else, or they stand for more bytes.
    """
    blocks: list[bytes] = []
    left = most
    while True:
        block, data = _unpacked(data, left, most)
        blocks.append(block)
        left -= len(block)
        if not data:
            return b"".join(blocks)
        if len(block) != BLOCK or not data.startswith(MAGIC):  # so that there are few streams, however many would fit
            raise ValueError("bytes follow its .xz stream")


def _unpacked(data: bytes, left: int, most: int) -> tuple[bytes, bytes]:
    """What the first stream stands for, and what follows it."""
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    parts, room = [], left + 1
    try:
        parts.append(unpacker.decompress(data, min(_PIECE, room)))
        while not unpacker.eof and (room := left + 1 - sum(map(len, parts))) > 0:
            if unpacker.needs_input:
                raise ValueError("its .xz stream is cut off")
            parts.append(unpacker.decompress(b"", min(_PIECE, room)))
    except lzma.LZMAError as error:
        raise ValueError(f"its .xz stream is damaged: {error}") from error
    if sum(map(len, parts)) > left:
        raise ValueError(f"its .xz stream stands for more than {most} bytes, the most for such a file")
    return b"".join(parts), unpacker.unused_data


def beginning(data: bytes, count: int) -> bytes:
    """The first `count` bytes of what `pack` was given, fewer where `data` does not say them."""
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY).decompress(data, count)
    except lzma.LZMAError:
        return b""
