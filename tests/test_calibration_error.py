"""Calibration error and log loss: what a naive count gives, whatever the batches; none where there is no softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from bench.measure.accuracy import score
from bench.measure.calibration import BINS, Calibration

Case = tuple[np.ndarray, np.ndarray]


@st.composite
def scored(draw: st.DrawFn) -> Case:
    """Logits that tie, that are far apart or that put a probability on a bin's edge, and labels."""
    images, classes = draw(st.integers(1, 40)), draw(st.integers(1, 17))
    values = st.sampled_from([0.0, 1.0, -2.5, 300.0, -1e4, math.log(2), math.log(4)]) | st.floats(-9, 9, width=32)
    logits = draw(hnp.arrays(np.float32, (images, classes), elements=values.map(np.float32)))
    return logits, draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))


def naive_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Equation 5 of the paper, a bin at a time, an image at a time."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for row, label in zip(logits.astype(float), labels, strict=True):
        probabilities = [float(value) for value in special.softmax(row)]
        top = max(probabilities)
        place = next(m for m in range(1, BINS + 1) if top <= m / BINS + 1e-15 or m == BINS)
        bins[place - 1].append((top, int(np.argmax(row)) == label))
    error = 0.0
    for held in bins:
        if held:
            mean, share = sum(top for top, _ in held) / len(held), sum(right for _, right in held) / len(held)
            error += len(held) / len(labels) * abs(share - mean)
    return error


def added(case: Case, batch: int) -> Calibration:
    logits, labels = case
    found = Calibration()
    for start in range(0, len(labels), batch):
        some = logits[start : start + batch]
        found.add(some, labels[start : start + batch], np.argmax(some, axis=1).astype(np.uint16))
    return found


def on_an_edge(logits: np.ndarray) -> bool:
    """Whether some highest probability is so close to an edge that rounding decides on the bin."""
    top = special.softmax(logits.astype(float), axis=1).max(axis=1) * BINS
    return bool((np.abs(top - np.round(top)) < 1e-9).any())


@settings(deadline=None, max_examples=200)
@given(case=scored(), batch=st.integers(1, 7))
def test_both_are_those_of_a_naive_count(case: Case, batch: int) -> None:
    found = added(case, batch)
    assert found.log_loss == pytest.approx(
        -np.mean(special.log_softmax(case[0].astype(float), axis=1)[np.arange(len(case[1])), case[1]]), abs=1e-9
    )
    assert found.error is not None
    assert 0 <= found.error <= 1
    if not on_an_edge(case[0]):
        assert found.error == pytest.approx(naive_error(*case), abs=1e-9)


def test_a_worked_example() -> None:
    """Four images with probabilities .8, .8, .8 and .6 of which the first two are right: bins 12 and 9, whose gaps are
    |2/3 - .8| and |0 - .6|."""
    logits = np.log(np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.6, 0.4]], np.float32))
    found = added((logits, np.array([0, 0, 0, 1])), 4)
    assert found.error == pytest.approx(3 / 4 * (0.8 - 2 / 3) + 1 / 4 * 0.6, abs=1e-6)
    assert found.log_loss == pytest.approx(-np.mean(np.log([0.8, 0.8, 0.2, 0.4])), abs=1e-6)


def test_a_probability_on_an_edge_belongs_to_the_lower_bin() -> None:
    """Two of fifteen classes share bin 8's upper edge and one is just below: with the edge in bin 8 the gaps cancel."""
    third = np.zeros((1, 3), np.float32)  # 1/3 = 5/15: bin 5, (4/15, 5/15]
    quarter = np.array([[np.log(2.9), 0, 0, 0, 0, 0, 0, 0, 0]], np.float32)  # 0.266: bin 4
    below = np.array([[np.log(3.7), 0, 0, 0, 0, 0, 0, 0, 0]], np.float32)  # 0.316: bin 5
    found = Calibration()
    found.add(third, np.array([1]), np.array([0], np.uint16))
    found.add(below, np.array([0]), np.array([0], np.uint16))
    together = abs(1 - 1 / 3 - 3.7 / 11.7) / 2
    assert found.error == pytest.approx(together, abs=1e-6)
    found.add(quarter, np.array([1]), np.array([0], np.uint16))
    assert found.error == pytest.approx((2 * together + 2.9 / 10.9) / 3, abs=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_image_without_a_softmax_leaves_nothing_to_say(bad: float) -> None:
    logits = np.zeros((5, 3), np.float32)
    logits[2, 1] = bad
    images = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1)
    result = score(lambda some: logits[some[:, 0, 0, 0].astype(int)], [(images, np.zeros(5, np.int64))], 2)
    assert (result.calibration_error, result.log_loss) == (None, None)
    assert Calibration().error is None


def test_a_label_of_probability_zero_is_infinitely_unlikely() -> None:
    logits = np.array([[0.0, -np.inf]], np.float32)
    assert added((logits, np.array([1])), 1).log_loss == math.inf
    assert added((logits, np.array([0])), 1).error == 0.0
