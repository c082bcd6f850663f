"""An exported .onnx file, as the sessions of several runtimes look at it. Imports no torch and no runtime."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np


def settings_of(path: Path) -> Path:
    """The file beside `path` that says what weights it holds; without it, sessions take the exact kernels."""
    return path.with_suffix(".json")


def precision(path: Path) -> str:
    """What the file's weights were stored in before they were exported: "f32", "f16" or "bf16"."""
    settings = settings_of(path)
    return json.loads(settings.read_text(encoding="utf-8")).get("precision", "f32") if settings.is_file() else "f32"


def zeros(path: Path) -> tuple[int, int]:
    """Zeros among, and number of, the weights of the file: constants of two axes or more."""
    import onnx
    from onnx import numpy_helper

    count = weights = 0
    for tensor in onnx.load(path).graph.initializer:
        if len(tensor.dims) >= 2:
            weights += math.prod(tensor.dims)
            count += int(np.count_nonzero(numpy_helper.to_array(tensor) == 0))
    return count, weights
