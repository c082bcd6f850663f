"""Kernels on the processor: `kernel.cu` compiled by the host's compiler against tests/emulator, called as on a GPU."""

from __future__ import annotations

import ctypes
import importlib
import mmap
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cuda_kernels.launch import _foreign
from tests.test_architecture import ROOT

COMPILER = shutil.which("c++")
ORDERS = (0, 1)  # in which threads run and copies land: see cuda_runtime.h of the emulator


def compiled(operation: str, architecture: int, folder: Path) -> ctypes.CDLL:
    """The library of one operation as the code for that `__CUDA_ARCH__`, run by a processor."""
    return built(ROOT / "cuda_kernels" / operation / "kernel.cu", architecture, folder / f"{operation}.so")


def built(source: Path, architecture: int, library: Path) -> ctypes.CDLL:
    """A shared library of a source in CUDA, compiled for this processor."""
    if COMPILER is None:
        pytest.skip("there is no C++ compiler on this machine")
    flags = ["-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-fno-strict-aliasing", f"-D__CUDA_ARCH__={architecture}"]
    if architecture == 900:
        flags.append("-D__CUDA_ARCH_FEAT_SM90_ALL")  # the target is sm_90a
    include = ["-I", str(ROOT / "tests" / "emulator"), "-I", str(ROOT / "cuda_kernels")]
    command = [COMPILER, *flags, *include, "-x", "c++", str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


@contextmanager
def launched_here(operation: str, library: ctypes.CDLL) -> Iterator[Callable[..., Tensor]]:
    """The function that an operation runs on a GPU, with its launches going to `library`. Takes CPU tensors."""
    module = importlib.import_module(f"cuda_kernels.{operation}.op")

    def launch(entry: str, *arguments: Tensor | int | float | None, device: torch.device) -> None:
        status = library[entry](*map(_foreign, arguments), ctypes.c_void_p(None))
        assert status == 0, f"{entry} fails with {status}"

    before, module.launch = module.launch, launch
    try:
        yield module.launched
    finally:
        module.launch = before


def in_order(library: ctypes.CDLL, order: int) -> None:
    """How threads run and copies land from now on."""
    ctypes.c_int.in_dll(library, "emulated_order").value = order


_PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)


def fenced(tensor: Tensor) -> Tensor:
    """A copy whose last byte is followed by memory that must not be touched: reading past its end ends the process."""
    size = tensor.numel() * tensor.element_size()
    if not size:
        return tensor
    pages = -(-size // _PAGE)
    memory = mmap.mmap(-1, (pages + 1) * _PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert _LIBC.mprotect(ctypes.c_void_p(address + pages * _PAGE), _PAGE, 0) == 0
    copy = torch.frombuffer(memory, dtype=torch.uint8, count=pages * _PAGE)[pages * _PAGE - size :]
    return copy.view(tensor.dtype).view(tensor.shape).copy_(tensor)
