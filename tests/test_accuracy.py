"""Accuracy: counts that a naive recount confirms, however images come in batches."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.measure import accuracy
from bench.measure.accuracy import NO_PREDICTION, count_hits, decode, encode
from bench.records import Accuracy


def naive_counts(logits: np.ndarray, labels: np.ndarray) -> tuple[int, int, list[int]]:
    """One image at a time: sort by falling logit, then by class."""
    top1 = top5 = 0
    predictions = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if any(value != value for value in row):
            predictions.append(NO_PREDICTION)
            continue
        order = sorted(range(len(row)), key=lambda index: (-row[index], index))
        predictions.append(order[0])
        top1 += order[0] == label
        top5 += label in order[:5]
    return top1, top5, predictions


@st.composite
def scored_batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Logits with ties, infinities and NaNs, and labels."""
    images, classes = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    values = st.sampled_from([0.0, -0.0, 1.0, 2.0, -3.5, np.inf, -np.inf, np.nan, 1e-30])
    logits = draw(hnp.arrays(np.float32, (images, classes), elements=values))
    return logits, draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))


@settings(deadline=None, max_examples=300)
@given(case=scored_batches())
def test_counts_are_those_of_a_naive_recount(case: tuple[np.ndarray, np.ndarray]) -> None:
    hits, hits5, predicted = count_hits(*case)
    assert (hits, hits5, predicted.tolist()) == naive_counts(*case)


def test_ties_go_to_the_lower_class_and_nan_is_wrong() -> None:
    logits = np.array([[1, 1, 1, 1, 1, 1], [np.nan, 9, 0, 0, 0, 0]], np.float32)
    assert count_hits(logits, np.array([0, 1]))[:2] == (1, 1)
    assert count_hits(logits, np.array([4, 1]))[:2] == (0, 1)
    assert count_hits(logits, np.array([5, 1]))[:2] == (0, 0)


def test_top5_of_fewer_than_five_classes_is_every_image() -> None:
    logits = np.array([[3, 2, 1], [0, 0, 0]], np.float32)
    assert count_hits(logits, np.array([2, 1]))[:2] == (0, 2)


@pytest.mark.parametrize(
    ("logits", "labels", "complaint"),
    [
        (np.zeros((2, 3), np.float32), [0], "expected logits"),
        (np.zeros(3, np.float32), [0, 1, 2], "expected logits"),
        (np.zeros((1, 3), np.float32), [3], "labels run from 3 to 3, the network has 3 classes"),
        (np.zeros((1, 3), np.float32), [-1], "labels run from -1"),
        (np.zeros((1, NO_PREDICTION), np.float32), [0], "classes, got 65535"),
    ],
)
def test_logits_that_do_not_fit_are_refused(logits: np.ndarray, labels: list[int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        count_hits(logits, np.array(labels))


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5), batch=st.integers(1, 5))
def test_however_images_are_batched_each_counts_once(sizes: list[int], batch: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(sum(sizes), 6, 1, 1)).astype(np.float32)
    labels = rng.integers(0, 6, sum(sizes))
    ends = np.cumsum(sizes)
    batches = [(images[end - size : end], labels[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    seen: list[int] = []

    def forward(some: np.ndarray) -> np.ndarray:
        seen.append(len(some))
        return some[:, :, 0, 0]

    result = accuracy.score(forward, batches, batch)
    top1, top5, predictions = naive_counts(images[:, :, 0, 0], labels)
    assert (result.correct, result.top5_correct, result.seen) == (top1, top5, sum(sizes))
    assert decode(result.predictions).tolist() == predictions
    assert set(seen) == {batch}  # one shape, so that what compiles for a shape compiles once


@given(st.lists(st.integers(0, NO_PREDICTION), max_size=50))
def test_predictions_come_back_whole_also_from_records_that_are_not_deflated(classes: list[int]) -> None:
    predictions = np.array(classes, dtype=np.uint16)
    plain = base64.b64encode(predictions.astype("<u2").tobytes()).decode()
    assert decode(encode(predictions)).tolist() == decode(plain).tolist() == classes


def test_predictions_of_many_images_take_little_room() -> None:
    predictions = np.random.default_rng(0).integers(0, 10, 10_000).astype(np.uint16)
    assert len(encode(predictions)) < 8_000


def test_an_empty_split_has_no_accuracy() -> None:
    with pytest.raises(ValueError, match="no images"):
        accuracy.score(lambda images: images, [], 4)


@given(values=st.lists(st.integers(0, NO_PREDICTION)))
def test_predictions_survive_their_encoding(values: list[int]) -> None:
    assert decode(encode(np.array(values, np.uint16))).tolist() == values


def test_the_encoding_is_little_endian_whatever_the_machine() -> None:
    ours, foreign = (encode(np.array([1, 256], order)) for order in ("<u2", ">u2"))
    assert ours == foreign
    assert zlib.decompress(base64.b64decode(ours.removeprefix("z:"))) == bytes([1, 0, 0, 1])


def test_agreement_is_the_share_of_equal_predictions() -> None:
    one = Accuracy(0, 0, 4, encode(np.array([1, 2, 3, 4], np.uint16)))
    other = Accuracy(0, 0, 4, encode(np.array([1, 2, 0, 4], np.uint16)))
    assert accuracy.agreement(one, other) == 0.75
    with pytest.raises(ValueError, match="cannot be compared"):
        accuracy.agreement(one, Accuracy(0, 0, 1, encode(np.array([1], np.uint16))))
