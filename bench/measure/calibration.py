"""How far a network's probabilities can be believed: expected calibration error and mean negative log likelihood."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of equal width, as published
_EDGES = np.arange(1, BINS) / BINS  # bin m holds probabilities in ((m - 1) / BINS, m / BINS]


class Calibration:
    """Sums over the images that go by.

    Probabilities are the softmax of the logits in float64. The expected calibration error is that of Guo et al. 2017,
    On Calibration of Modern Neural Networks (arXiv 1706.04599, equation 5): images are sorted into BINS bins by their
    highest probability, and the error is the mean over images of their bin's |accuracy - mean probability|.
    """

    def __init__(self) -> None:
        self._probability = np.zeros(BINS)  # sum over the images of each bin
        self._right = np.zeros(BINS)
        self._nats = 0.0
        self._seen = 0
        self._defined = True

    def add(self, logits: NDArray[np.float32], labels: NDArray[np.int64], predicted: NDArray[np.uint16]) -> None:
        """The next images: logits [n, classes], labels [n], predicted classes [n]."""
        rows = logits.astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity less infinity: that image has no softmax
            shifted = rows - rows.max(axis=1, keepdims=True)
            spread = np.log(np.exp(shifted).sum(axis=1))  # [n]; minus the log of the highest probability
        self._defined &= bool(np.isfinite(spread).all())
        if not self._defined:
            return
        probability = np.exp(-spread)
        places = np.digitize(probability, _EDGES, right=True)
        self._probability += np.bincount(places, probability, BINS)
        self._right += np.bincount(places, predicted == labels, BINS)
        self._nats += float((spread - shifted[np.arange(len(labels)), labels]).sum())
        self._seen += len(labels)

    @property
    def error(self) -> float | None:
        """Expected calibration error in [0, 1]; None where some image's logits have no softmax, or none was seen."""
        if not self._defined or not self._seen:
            return None
        return float(np.abs(self._right - self._probability).sum()) / self._seen

    @property
    def log_loss(self) -> float | None:
        """Mean negative log likelihood of the labels, nats: infinite where one has probability 0, None as `error`."""
        if not self._defined or not self._seen:
            return None
        return self._nats / self._seen if math.isfinite(self._nats) else math.inf
