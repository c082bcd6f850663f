"""Tensors as words and back: the one place where torch's types meet the file's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.artifact.codecs import Words

_TYPES: dict[str, tuple[torch.dtype, torch.dtype, str]] = {  # name in files: type, type of its words, same in numpy
    "f32": (torch.float32, torch.int32, "i4"),
    "f16": (torch.float16, torch.int16, "i2"),
    "bf16": (torch.bfloat16, torch.int16, "i2"),
    "f64": (torch.float64, torch.int64, "i8"),
    "i8": (torch.int8, torch.int8, "i1"),
    "u8": (torch.uint8, torch.uint8, "u1"),
    "i16": (torch.int16, torch.int16, "i2"),
    "i32": (torch.int32, torch.int32, "i4"),
    "i64": (torch.int64, torch.int64, "i8"),
    "bool": (torch.bool, torch.uint8, "u1"),
}
_NAMES = {row[0]: name for name, row in _TYPES.items()}


def type_name(tensor: Tensor) -> str:
    """What files call the tensor's type.

    Raises:
        ValueError: files hold no tensors of that type.
    """
    if tensor.dtype not in _NAMES or tensor.layout != torch.strided:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in _NAMES)
        raise ValueError(f"a file holds dense tensors of {known}, not {tensor.dtype} ({tensor.layout}): convert it")
    return _NAMES[tensor.dtype]


def torch_type(name: str) -> torch.dtype:
    """The type of that name. Raises: ValueError."""
    if name not in _TYPES:
        raise ValueError(f"unknown tensor type {name!r}")
    return _TYPES[name][0]


def word_type(name: str) -> np.dtype[Any]:
    """The type of the words of tensors of that type."""
    return np.dtype(_TYPES[name][2])


def to_words(tensor: Tensor) -> Words:
    """The tensor's bits in row-major order, shape [numel]."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(_TYPES[type_name(tensor)][1]).numpy()


def from_words(words: Words, name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor with those bits.

    Raises:
        ValueError: a truth value is neither 0 nor 1.
    """
    if name == "bool" and words.size and words.max() > 1:
        raise ValueError("a truth value is neither 0 nor 1")
    return torch.from_numpy(words).view(_TYPES[name][0]).reshape(shape)


def count_of(shape: tuple[int, ...]) -> int:
    return math.prod(shape)
