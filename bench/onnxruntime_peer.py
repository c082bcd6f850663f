"""ONNX Runtime's own static quantisation, the peer that ours is compared with.

As its documentation recommends for x86: pre-processed, quantise and dequantise nodes, uint8 activations, int8 weights
with a scale for each channel; all else by default. `Entropy` makes as many bins as there are codes by default, which
quantize_static has no option for, so that it clips nothing and comes out as `MinMax` (1.31.1). `Entropy` and
`Percentile` hold the activations of all images in memory at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

CALIBRATIONS = ("MinMax", "Entropy", "Percentile")
_LARGEST_BATCH = 64


class _Images(CalibrationDataReader):
    """Calibration images in equal batches, which the histograms ask for."""

    def __init__(self, images: NDArray[np.float32], name: str) -> None:
        """images: [n, c, h, w]; name: of the network's input."""
        size = max(size for size in range(1, _LARGEST_BATCH + 1) if len(images) % size == 0)
        self._batches = iter([{name: images[start : start + size]} for start in range(0, len(images), size)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def quantize(exported: Path, target: Path, images: Sequence[NDArray[np.float32]], calibration: str) -> Path:
    """Writes to `target` what the library makes of the float32 network `exported`.

    images: batches [n, c, h, w]; calibration: one of CALIBRATIONS.
    """
    ready = target.with_suffix(".ready.onnx")
    with contextlib.redirect_stdout(sys.stderr):  # the library prints as it goes
        quant_pre_process(exported, ready, skip_symbolic_shape=True)  # it fails on constants that are no tensors
        quantize_static(
            ready,
            target,
            _Images(np.concatenate(list(images)), "images"),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[calibration],
        )
    ready.unlink()
    return target
