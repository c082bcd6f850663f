"""Codes integer arrays with nncodec's DeepCABAC; run by `bench.peer_codecs` in an interpreter that has nncodec.

    PYTHON deepcabac_worker.py IN.npz        prints {"name": bytes} as JSON

Each array is coded losslessly, without a quantiser, in each of nncodec's settings that a lossless code may take (scan
order, number of unary bins, skipped empty rows); of those whose decoder gives back every integer the smallest counts.
DeepCABAC: Wiedemann et al. 2019, arXiv 1907.11900; nncodec: Becking et al. 2023.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import numpy as np

SCAN_ORDERS = (0, 1, 2, 3, 4)  # row by row, or in blocks of 8, 16, 32, 64
DEFAULT_BINS = 11
UNARY_BINS = (4, DEFAULT_BINS, 17)
LARGE = 500_000  # words
PROFILE = 1  # the second edition of the standard, which skips empty rows


def smallest(codec: Any, values: np.ndarray) -> int:
    """Bytes of the smallest code that decodes to `values`, int32 of any shape."""
    large = values.size > LARGE  # which would take minutes in every setting
    orders = SCAN_ORDERS if values.ndim > 1 and not large else (0,)
    settings = itertools.product(orders, (DEFAULT_BINS,) if large else UNARY_BINS, (0, 1))
    sizes = [size for setting in settings if (size := _coded(codec, values, *setting)) is not None]
    if not sizes:
        raise ValueError("DeepCABAC gives back other values in every setting")
    return min(sizes)


def _coded(codec: Any, values: np.ndarray, order: int, bins: int, skip: int) -> int | None:
    """Bytes of the code, or None where it decodes to other integers (some block orders of some shapes do)."""
    no_history = codec.HdspMode.AlwaysOff, np.zeros(2, np.int8)
    rows = values.reshape(len(values), -1)
    empty = (~rows.any(1)).astype(np.int32) if values.ndim > 1 else np.zeros(len(values), np.int32)
    encoder = codec.Encoder()
    encoder.initCtxModels(bins, 1)
    encoder.encodeLayer(values, 0, order, PROFILE, 0, skip, empty, *no_history, 0, 0)
    code = np.asarray(encoder.finish(), np.uint8)
    decoder, decoded = codec.Decoder(), np.zeros_like(values)
    decoder.setStream(code)
    decoder.initCtxModels(bins)
    decode = decoder.decodeLayerAndCreateEPs if order else decoder.decodeLayer  # blocks need their entry points
    decode(decoded, 0, order, PROFILE, 0, *no_history, 0, 0)
    return int(code.size) if np.array_equal(decoded, values) else None


def main() -> None:
    from nncodec.extensions import deepCABAC

    arrays = np.load(sys.argv[1])
    sizes = {name: smallest(deepCABAC, np.ascontiguousarray(arrays[name], np.int32)) for name in arrays.files}
    print(json.dumps(sizes))


if __name__ == "__main__":
    main()
