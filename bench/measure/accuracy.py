"""Accuracy as counts over a whole split: correct / seen, never a mean of batch means."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from bench.measure.calibration import Calibration
from bench.records import DEFLATED, Accuracy, class_bytes

NO_PREDICTION = 65535  # written for an image whose logits hold a NaN: wrong, whatever the label
Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # [n, c, h, w] -> logits [n, classes]


def score(
    forward: Forward,
    batches: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]],
    batch: int,
    watch: Callable[[NDArray[np.float32]], object] = lambda logits: None,
) -> Accuracy:
    """Counts hits of `forward` over all `batches` of (images [n, c, h, w], labels [n]); `watch` sees its logits.

    Images go through in batches of exactly `batch`; the last one is filled up with copies that are not counted, so
    that a runtime which compiles for one shape compiles once.

    Raises:
        ValueError: no images, or the logits do not fit the labels.
    """
    correct = top5_correct = 0
    predictions: list[NDArray[np.uint16]] = []
    calibration = Calibration()
    for images, labels in rebatched(batches, batch):
        padded = np.concatenate([images, np.repeat(images[-1:], batch - len(images), axis=0)])
        logits = forward(padded)[: len(images)]
        watch(logits)
        hits, hits5, predicted = count_hits(logits, labels)
        correct, top5_correct = correct + hits, top5_correct + hits5
        predictions.append(predicted)
        calibration.add(logits, labels, predicted)
    if not predictions:
        raise ValueError("the test split holds no images: accuracy is undefined")
    everything = np.concatenate(predictions)
    return Accuracy(correct, top5_correct, len(everything), encode(everything), calibration.error, calibration.log_loss)


class Labels:
    """The labels of batches that go by."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []

    def passing(
        self, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """The same batches."""
        for images, labels in batches:
            self._parts.append(labels)
            yield images, labels

    def text(self) -> str:
        """All of them in order, as `encode` writes predictions."""
        return encode(np.concatenate(self._parts).astype(np.uint16))


def rebatched(
    batches: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]], batch: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The same images and labels in the same order, none in a batch of more than `batch`."""
    for images, labels in batches:
        for start in range(0, len(images), batch):
            yield images[start : start + batch], labels[start : start + batch]


def count_hits(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[int, int, NDArray[np.uint16]]:
    """Top-1 hits, top-5 hits and the predicted classes of logits [n, classes] against labels [n].

    Among equal logits the lower class comes first, so counts do not hang on a sort's whims. With fewer than five
    classes every image with finite logits is a top-5 hit. An image with a NaN among its logits is wrong.

    Raises:
        ValueError: shapes do not fit, a label names no class, or there are too many classes to encode.
    """
    if logits.ndim != 2 or logits.shape[0] != len(labels):
        raise ValueError(f"expected logits [{len(labels)}, classes], got {list(logits.shape)}")
    classes = logits.shape[1]
    if not 1 <= classes < NO_PREDICTION:
        raise ValueError(f"expected 1 to {NO_PREDICTION - 1} classes, got {classes}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, the network has {classes} classes")
    valid = ~np.isnan(logits).any(axis=1)  # [n]
    at_label = logits[np.arange(len(labels)), labels][:, None]  # [n, 1]
    before = (logits > at_label) | ((logits == at_label) & (np.arange(classes) < labels[:, None]))  # [n, classes]
    rank = before.sum(axis=1)  # 0 where the label is predicted
    predicted = np.where(valid, np.argmax(logits, axis=1), NO_PREDICTION).astype(np.uint16)
    return int((valid & (rank == 0)).sum()), int((valid & (rank < 5)).sum()), predicted


def encode(predictions: NDArray[np.uint16]) -> str:
    """`z:` and base64 of the classes as little-endian uint16, deflated: records of large sweeps stay small."""
    return DEFLATED + base64.b64encode(zlib.compress(predictions.astype("<u2").tobytes(), 9)).decode("ascii")


def decode(text: str) -> NDArray[np.uint16]:
    """What `encode` wrote; without `z:` in front the classes are not deflated."""
    return np.frombuffer(class_bytes(text), dtype="<u2")


def agreement(accuracy: Accuracy, reference: Accuracy) -> float:
    """Share of images for which two runtimes predict the same class.

    Raises:
        ValueError: the two did not see the same number of images.
    """
    if accuracy.seen != reference.seen:
        raise ValueError(f"{accuracy.seen} and {reference.seen} predictions cannot be compared")
    return float(np.mean(decode(accuracy.predictions) == decode(reference.predictions)))
