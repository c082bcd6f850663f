"""Records that hold predictions and labels, drawn so that rows of one seed err on much the same images."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.measure.accuracy import encode
from bench.records import Accuracy, RunRecord
from tests.records_example import record

NAMES = ("plane", "car", "bird", "cat", "deer")


def labels_of(images: int, seed: int = 99) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, len(NAMES), images)


def scored(one: RunRecord, predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> RunRecord:
    """The record with these predictions in each of its runtimes, and these labels."""
    right = int((predicted == labels).sum())
    accuracy = Accuracy(right, right, len(labels), written(predicted), 0.04, 0.3)
    results = tuple(dataclasses.replace(result, accuracy=accuracy) for result in one.runtimes)
    return dataclasses.replace(one, runtimes=results, test_labels=written(labels), class_names=NAMES)


def written(classes: NDArray[np.int64]) -> str:
    """Classes as a record holds them, where they are many not deflated, as in records from before: that is faster."""
    if len(classes) < 5_000:
        return encode(classes.astype(np.uint16))
    return base64.b64encode(classes.astype("<u2").tobytes()).decode()


def wrong_where(missed: NDArray[np.bool_], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Predictions that are the next class where `missed`."""
    return np.where(missed, (labels + 1) % len(NAMES), labels)


def run(
    shares: dict[str, float], seeds: Sequence[int] = (0,), images: int = 1000, spread: float = 0.0, draw: int = 0
) -> list[RunRecord]:
    """A row a chain and seed, right on about these shares of the images, in plan order.

    An image is hard for all rows or for none, up to a part of chance for each row. spread: standard deviation over the
    seeds of each row's share.
    """
    rng = np.random.default_rng(draw)
    labels = labels_of(images)
    common = rng.normal(size=images)
    found = []
    for seed in seeds:
        for chain, share in shares.items():
            mixed = 0.8 * common + 0.6 * rng.normal(size=images)
            own = min(1.0, max(0.0, share + spread * rng.normal()))
            missed = mixed > np.quantile(mixed, own)
            found.append(scored(record(chain, like="dense", seed=seed), wrong_where(missed, labels), labels))
    return found
