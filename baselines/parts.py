"""Where a file lies while it is being written: it takes its name when it is whole."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path

_MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]  # process ids are those of one machine
_PART = re.compile(r"\..+\.(\d+)-([0-9a-f]{8})\.part")


def part_of(path: Path) -> Path:
    """The place beside `path` that only this process of this machine writes to."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_MACHINE}.part")


def is_part(path: Path) -> bool:
    """Whether it is named as such a place."""
    return _PART.fullmatch(path.name) is not None


def is_being_written(path: Path) -> bool:
    """Whether a process of this machine is there that such a place belongs to. Of other machines nothing is known."""
    found = _PART.fullmatch(path.name)
    return found is not None and found[2] == _MACHINE and _alive(int(found[1]))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another person's
        return True
    return True
