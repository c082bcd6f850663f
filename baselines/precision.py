"""Which number format training computes in."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

import torch

from baselines.recipes import Precision

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86 and of ARM; without them bfloat16 is emulated, and slow


def uses_bf16(precision: Precision, device: str) -> bool:
    """Whether training computes in bfloat16. `auto` does where the device has instructions for it."""
    if precision == "auto":
        if torch.device(device).type == "cuda":
            return torch.cuda.get_device_capability(torch.device(device)) >= (8, 0)
        return bool(_BF16_FLAGS & cpu_flags())
    return precision == "bf16"


def autocast_for(precision: Precision, device: str) -> contextlib.AbstractContextManager[Any]:
    """The context that a training step's forward pass runs in."""
    if uses_bf16(precision, device):
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor, where the system lists them (Linux)."""
    listing = Path("/proc/cpuinfo")
    if not listing.is_file():
        return frozenset()
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in {"flags", "features"}:
            return frozenset(value.split())
    return frozenset()
