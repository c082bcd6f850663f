"""Peak memory, in a process that does nothing else: it reads one file and runs one batch.

Linux counts resident memory and its high-water mark in /proc/self/status; elsewhere getrusage knows the mark alone.
"""

from __future__ import annotations

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
    """Begins to watch: sets the high-water mark back to what is resident now, where the kernel allows it."""
    if not _STATUS.exists():
        return Watch(_rusage(), "ru_maxrss", reset=False)
    try:
        _CLEAR.write_text("5")  # man proc_pid_clear_refs: 5 resets the peak resident set size
        reset = True
    except OSError:  # a sandbox that forbids it: the peak then includes the imports
        reset = False
    return Watch(_status("VmRSS"), "VmHWM", reset)


def _status(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024  # "VmHWM:   316036 kB"


def _rusage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others kilobytes
