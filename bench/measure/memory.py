"""Resident memory of this process, with a high-water mark that can be set back.

Linux counts both in /proc/self/status; elsewhere getrusage knows the mark alone, since the start of the process.
"""

from __future__ import annotations

import ctypes
import gc
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Watch:
    """A running observation of this process's resident memory."""

    baseline_bytes: int  # resident when the watch began
    source: str  # where the peak is read
    reset: bool  # False: the peak counts from the start of the process

    def peak_bytes(self) -> int:
        """The most that was resident since the watch began."""
        return _status("VmHWM") if self.source == "VmHWM" else _rusage()


def watch() -> Watch:
    """Begins to watch: gives freed memory back and sets the high-water mark to what is left, where the system can."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    if not _STATUS.exists():
        return Watch(_rusage(), "ru_maxrss", reset=False)
    try:
        _CLEAR.write_text("5")  # man proc_pid_clear_refs: 5 resets the peak resident set size
        reset = True
    except OSError:  # a sandbox that forbids it: the protocol says so
        reset = False
    return Watch(_status("VmRSS"), "VmHWM", reset)


def _status(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024  # "VmHWM:   316036 kB"


def _rusage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others kilobytes
