"""The folders a run writes to: held by one process at a time, and written to as long as that is possible."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from baselines.errors import UsageError

_LOCK = ".lock"
_PROBE_BYTES = 1 << 20
# What the disk says, not the file: the next write would fail too.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}
_held: dict[Path, BinaryIO] = {}


def hold(folder: Path) -> None:
    """Keeps other processes out of `folder`, which is made if need be, until `released` or the end of this process,
    however it ends. A folder that this process holds already stays held.

    Raises:
        UsageError: another process holds it.
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / _LOCK
    if path in _held:
        return
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        who = file.read(20).decode("ascii", "replace").strip() or "unknown"
        file.close()
        raise UsageError(
            f"--out {folder} is being filled by another run (process {who}): let it finish, or choose another folder"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode("ascii"))
    file.flush()
    _held[path] = file


@contextlib.contextmanager
def released() -> Iterator[None]:
    """Gives back at its end what was held in it."""
    before = set(_held)
    try:
        yield
    finally:
        for path in set(_held) - before:
            _held.pop(path).close()


def check_writable(flag: str, folder: Path) -> None:
    """Makes `folder` and tries to write there.

    Raises:
        UsageError: that does not work; the message says why.
    """
    if error := _probe(folder, 1):
        raise UsageError(f"{flag} {folder} cannot be written: {error.strerror or error}: choose another folder")


def no_more_room(error: BaseException, folders: Iterable[Path]) -> str | None:
    """The reason, in a line, why nothing can be written any more to one of `folders`, as `error` or a try tells; None
    where the error has another cause.

    A try, because some writers and processes tell of a full disk by an error of their own.
    """
    folders = list(folders)
    for folder in folders:
        if failed := _probe(folder, _PROBE_BYTES):
            return _told(failed, folder)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            named = Path(os.fsdecode(cause.filename)) if cause.filename else None
            of = next((one for one in folders if named and named.resolve().is_relative_to(one.resolve())), folders[0])
            return _told(cause, of)
        cause = cause.__cause__ or cause.__context__
    return None


def _told(error: OSError, folder: Path) -> str:
    return (
        f"nothing more can be written to {folder}: {error.strerror or error}. What is finished is kept: make room, "
        "and the same command goes on from there"
    )


def _probe(folder: Path, count: int) -> OSError | None:
    path = folder / f".probe.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                file.write(bytes(count))
                file.flush()
                os.fsync(file.fileno())
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        return error
    return None
