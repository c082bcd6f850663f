"""What this processor can do that a session has to know. Imports nothing."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux; elsewhere nothing is known
_VNNI = {"avx512_vnni", "avx_vnni"}


def has_vnni(cpuinfo: Path = CPUINFO) -> bool:
    """Whether every core adds products of uint8 and int8 in int32 (vpdpbusd). False where that is not known."""
    if not cpuinfo.is_file():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = [set(line.partition(":")[2].split()) for line in lines if line.partition(":")[0].strip() == "flags"]
    return bool(flags) and all(_VNNI & one for one in flags)
