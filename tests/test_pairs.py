"""Laws of rows held against rows: signs, symmetry, and intervals that are never narrower than those from labels."""

import dataclasses

import numpy as np
import pytest

from bench.intervals import paired_difference
from bench.measure.accuracy import encode
from bench.pairs import Difference, compared, table, verdict
from bench.records import Accuracy
from tests.records_example import record


def scored(predicted, labels):
    hits = int((predicted == labels).sum())
    return Accuracy(hits, hits, len(labels), encode(predicted.astype(np.uint16)))


def drawn(seed, share, labels):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < share, labels, (labels + rng.integers(1, 5, len(labels))) % 5)


@pytest.mark.parametrize(("a", "b"), [(0.9, 0.8), (0.5, 0.5), (1.0, 0.0), (1.0, 1.0), (0.3, 0.31)])
def test_the_interval_holds_the_difference_and_is_as_wide_as_that_from_labels(a, b):
    labels = np.random.default_rng(0).integers(0, 5, 400)
    one, other = drawn(1, a, labels), drawn(2, b, labels)
    found = Difference.of(scored(one, labels), scored(other, labels))
    hits, others = one == labels, other == labels
    exact = paired_difference(int((hits & ~others).sum()), int((others & ~hits).sum()), len(labels))
    assert found.points == pytest.approx(100 * (hits.mean() - others.mean()))
    assert found.low <= exact[0] + 1e-2
    assert found.high >= exact[1] - 1e-2
    known = Difference.of(scored(one, labels), scored(other, labels), encode(labels.astype(np.uint16)))
    assert (known.low, known.high) == pytest.approx(exact)
    back = Difference.of(scored(other, labels), scored(one, labels))
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=1e-2)


def test_rows_of_other_images_are_not_compared():
    labels = np.zeros(10, int)
    with pytest.raises(ValueError, match="10 and 9 images"):
        Difference.of(scored(labels, labels), scored(labels[:9], labels[:9]))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.2, "first is better"),
        (-0.2, -0.1, "second is better"),
        (-0.1, 0.1, "no difference is shown"),
        (0.0, 0.1, "no difference is shown"),
    ],
)
def test_a_verdict_is_given_by_the_whole_interval(low, high, words):
    assert verdict(low, high).startswith(words)


def test_rows_meet_by_seed_and_runtime_and_the_mean_is_over_seeds():
    labels = np.random.default_rng(3).integers(0, 5, 500)

    def row(label, seed, share):
        one = record(label, seed=seed)
        scores = scored(drawn(seed, share, labels), labels)
        results = tuple(dataclasses.replace(r, accuracy=scores) for r in one.runtimes)
        return dataclasses.replace(one, label=label, runtimes=results)

    rows = [row("qat", 0, 0.9), row("qat", 1, 0.9), row("qat", 7, 0.9), row("ptq", 0, 0.6), row("ptq", 1, 0.6)]
    found = compared(rows, "qat", "ptq")
    assert {seed for seeds in found.values() for seed in seeds} == {0, 1}
    lines = table(found)
    assert sum("**mean**" in line for line in lines) == len(found)
    assert all("first is better" in line for line in lines[2:] if "**mean**" not in line)
    assert compared(rows, "qat", "no such row") == {}
