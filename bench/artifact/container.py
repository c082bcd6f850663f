"""The file's frame: what is where, and how damage is found before anything is believed.

  magic, version          6 bytes
  header                  length as stored (4), length unpacked (4), CRC-32 of what is stored (4), deflated JSON
  tensors                 one code after the other, in the header's order, nothing between them
  checksum                BLAKE2b of all bytes before it (16)

A file is whole, of this version and as long as its header says, or reading ends with an error. All this may stand in
one .xz stream (bench/artifact/xz.py), as a general compressor's form of it.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from baselines.errors import UsageError
from baselines.parts import part_of
from bench.artifact import xz
from bench.artifact.dictionary import DICTIONARY

MAGIC = b"\x93NNC"
VERSION = 3
MAX_HEADER_BYTES = 4 << 20  # unpacked; that of a 200-layer network takes a tenth
_FREE_BYTES = 256 << 20  # any file may hold as much, however short its codes: an all-zero layer takes a few bytes
_BYTES_PER_FILE_BYTE = 2000  # an int8 network of which one weight in a thousand is left holds 1600, as counted here
_PIECE = 64 << 10  # enough of a .xz stream to show what it begins with
_PRELUDE = struct.Struct("<4sHIII")
_CHECKSUM_BYTES = 16


class ArtifactError(UsageError):
    """A file that cannot be read: damaged, truncated, of another version, or never an artifact."""


@dataclass(frozen=True)
class Frame:
    """A file cut into its parts. Where it is not whole, its tensors must not be believed, only searched for damage."""

    header: bytes  # unpacked; its own checksum holds
    tensors: memoryview
    whole: bool  # whether the checksum over everything holds
    file_bytes: int
    unpacked_bytes: int  # of what the file stands for: more than file_bytes where it is in .xz form
    sha256: str  # of the whole file, as `sha256sum` prints it


def frame(header: bytes, tensors: list[bytes]) -> bytes:
    """The bytes of the file.

    Raises:
        ValueError: the header is too large to be read back.
    """
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"the header would take {len(header)} bytes, at most {MAX_HEADER_BYTES} are read: shorten "
                         "the metadata")  # fmt: skip
    stored = deflate(header)
    prelude = _PRELUDE.pack(MAGIC, VERSION, len(stored), len(header), zlib.crc32(stored))
    body = b"".join((prelude, stored, *tensors))
    return body + _checksum(body)


def deflate(header: bytes) -> bytes:
    """The header as stored: a raw deflate stream that refers to `DICTIONARY`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    return packer.compress(header) + packer.flush()


def write_whole(data: bytes, path: Path) -> None:
    """Writes a file whole or not at all: no reader sees half of it, also after a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def limit_of(file_bytes: int) -> int:
    """Bytes that a file may stand for unless its reader sets another limit."""
    return max(_FREE_BYTES, _BYTES_PER_FILE_BYTE * file_bytes)


def read_frame(path: Path, limit: int | None = None) -> Frame:
    """Reads a file and checks its frame.

    limit: bytes that its tensors may take; not set: `limit_of` its size. A file in .xz form is unpacked to no more.

    Raises:
        ArtifactError: it is missing, of another version, no artifact, or its header is damaged or truncated.
    """
    file = _bytes_of(path)
    data = _unpacked(file, path, limit_of(len(file)) if limit is None else limit)
    header, end = _header(data, path)
    body = memoryview(data)[:-_CHECKSUM_BYTES]
    whole = _checksum(body) == data[-_CHECKSUM_BYTES:]
    return Frame(header, body[end:], whole, len(file), len(data), hashlib.sha256(file).hexdigest())


def read_header(path: Path) -> bytes:
    """Reads and checks the header alone; the tensors may still be damaged.

    Raises:
        ArtifactError: as `read_frame`.
    """
    file = _bytes_of(path)
    return _header(_unpacked(file, path, limit_of(len(file))), path)[0]


def _unpacked(file: bytes, path: Path, limit: int) -> bytes:
    """What a file in .xz form stands for; any other as it is."""
    if not file.startswith(xz.MAGIC):
        return file
    try:
        return xz.unpack(file, limit + MAX_HEADER_BYTES + _PRELUDE.size + _CHECKSUM_BYTES)
    except ValueError as error:
        raise ArtifactError(f"{path} cannot be read ({error}): make it again") from error


def is_of_another_version(path: Path) -> bool:
    """Whether the file is an artifact, whole or not, that this version does not read."""
    with path.open("rb") as file:
        start = file.read(_PRELUDE.size)
        if start.startswith(xz.MAGIC):
            start = xz.beginning(start + file.read(_PIECE), _PRELUDE.size)
    if len(start) < _PRELUDE.size or start[: len(MAGIC)] != MAGIC:
        return False
    return _PRELUDE.unpack(start)[1] != VERSION


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(f"{path} cannot be read ({reason}): pass the path of an artifact (.nnc)") from error


def _header(data: bytes, path: Path) -> tuple[bytes, int]:
    """The unpacked header and where the tensors begin."""
    if len(data) < _PRELUDE.size or data[: len(MAGIC)] != MAGIC:
        raise ArtifactError(f"{path} is no artifact (it begins with {data[:4]!r}, not {MAGIC!r}): pass an .nnc file")
    _, version, stored_bytes, unpacked_bytes, crc = _PRELUDE.unpack_from(data)
    if version != VERSION:
        raise ArtifactError(f"{path} has format version {version}, this version reads {VERSION}: make it again")
    end = _PRELUDE.size + stored_bytes
    if end + _CHECKSUM_BYTES > len(data):
        raise ArtifactError(f"{path} is truncated (its header needs {end} bytes of {len(data)}): make it again")
    stored = data[_PRELUDE.size : end]
    if zlib.crc32(stored) != crc:
        raise ArtifactError(f"{path} is damaged (the header's checksum does not match): make it again")
    return _unpack(stored, unpacked_bytes, path), end


def _unpack(stored: bytes, expected: int, path: Path) -> bytes:
    if expected > MAX_HEADER_BYTES:
        raise ArtifactError(f"{path} has a header of {expected} bytes, at most {MAX_HEADER_BYTES} are read: not one "
                            "of ours")  # fmt: skip
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS, DICTIONARY)
    try:
        header = unpacker.decompress(stored, expected + 1)
    except zlib.error as error:
        raise ArtifactError(f"{path} is damaged (its header cannot be unpacked): make it again") from error
    if len(header) != expected or not unpacker.eof or unpacker.unused_data:
        raise ArtifactError(f"{path} is damaged (its header has another length than stated): make it again")
    return header


def _checksum(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest()
