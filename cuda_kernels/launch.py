"""Calls an entry point of the shared library on torch's data pointers and torch's current stream."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from cuda_kernels.build import build


class KernelError(RuntimeError):
    """An entry point returned a CUDA error, there is none of that name, or no GPU to run it."""


def launch(entry: str, *arguments: Tensor | int | float | None, device: torch.device) -> None:
    """Runs `entry(arguments..., stream)`: tensors go as pointers, None as a null pointer, int as int64, float as float.

    Nothing is checked here but the code that comes back: shapes, types and contiguity are the caller's.

    Raises:
        KernelError: no GPU, no such entry point, or the entry point's error.
        BuildFailure: the library is not built yet and cannot be.
    """
    if device.type != "cuda":
        raise KernelError(f"{entry} runs on a GPU only, its tensors are on {device}: move them, or use the reference")
    try:
        function = _library()[entry]
    except AttributeError:
        raise KernelError(
            f"the library has no {entry}: choose a variant that bench.py of the operation lists"
        ) from None
    with torch.cuda.device(device):
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        status = function(*map(_foreign, arguments), stream)
    if status:
        raise KernelError(f"{entry} fails: {_error_name(status)}")


def _foreign(argument: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    if argument is None or isinstance(argument, Tensor):
        return ctypes.c_void_p(None if argument is None else argument.data_ptr())
    return ctypes.c_float(argument) if isinstance(argument, float) else ctypes.c_int64(argument)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(build()))


def _error_name(status: int) -> str:
    return (
        f"CUDA error {status} ({torch.cuda.CudaError(status)})" if torch.cuda.is_available() else f"CUDA error {status}"
    )
