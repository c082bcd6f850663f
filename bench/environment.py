"""Where a run took place: versions, machine, commit. Nothing that names a person, a host or a folder."""

from __future__ import annotations

import copy
import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = (
    "torch", "torchvision", "torch-pruning", "torchdistill", "numpy", "scipy", "scikit-learn", "onnx", "onnxscript",
    "onnxruntime", "openvino", "timm", "pandas", "matplotlib", "plotly", "markdown-it-py",
    "nvidia-ml-py", "constriction",
)  # fmt: skip
_CPU_FLAGS = (
    "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """A description of this machine and this code, in JSON types, as they were at the first call. Imports none of the
    packages it lists."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), **copy.deepcopy(_facts())}


@functools.cache
def _facts() -> dict[str, Any]:
    """What stays as it is while a process runs: the code that it has loaded too, whatever is committed meanwhile."""
    return {
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "os": f"{platform.system()} {platform.release()}",
        "cpu": cpu(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus(),
        **commit(_ROOT),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Model, instruction sets that matter here, and cores; `usable_cores` are those this process may run on."""
    fields: dict[str, str] = {}
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    flags = set(fields.get("flags", fields.get("Features", "")).split())  # x86 and Arm name the line differently
    affinity = len(os.sched_getaffinity(0)) if platform.system() == "Linux" else os.cpu_count()
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "flags": [flag for flag in _CPU_FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "usable_cores": affinity,
    }


def gpus() -> list[dict[str, Any]]:
    """Name, memory and driver of each GPU that the driver lists; empty where there is none."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [
            {
                "name": _text(pynvml.nvmlDeviceGetName(handle)),
                "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                "driver": driver,
            }
            for handle in handles
        ]
    except pynvml.NVMLError:
        return []


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # older bindings return bytes


def commit(root: Path) -> dict[str, Any]:
    """The git commit of the code at `root` and whether files differ from it; None where it is no checkout."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "commit_dirty": None}
    return {"commit": head, "commit_dirty": dirty}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
