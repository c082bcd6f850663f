"""How far logits are from others: what agreement of predictions may hide. Imports no torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def logit_error(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Root mean square of the difference, in standard deviations of the reference logits over the images; both
    [n, classes].

    The deviations are from each class's mean: what all images have in common says nothing of any of them.
    Infinite where a logit is not finite, or where the reference does not vary and the two differ.

    Raises:
        ValueError: the shapes differ.
    """
    if logits.shape != reference.shape:
        raise ValueError(f"logits {list(logits.shape)} and {list(reference.shape)} cannot be compared")
    if np.array_equal(logits, reference):
        return 0.0
    own, other = logits.astype(np.float64), reference.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = float(np.sqrt(np.mean((own - other) ** 2)) / (other - other.mean(0)).std())
    return error if math.isfinite(error) else math.inf
