"""Laws of intervals, against scipy, numpy and published examples."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.intervals import (
    difference,
    holm,
    mcnemar,
    normal_p,
    over_seeds,
    paired_difference,
    student_p,
    student_t,
    wilson,
)

COUNTS = st.integers(0, 5000).flatmap(lambda seen: st.tuples(st.integers(0, seen), st.just(seen)))
VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


@pytest.mark.parametrize(("correct", "seen"), [(0, 1), (1, 1), (0, 10), (10, 10), (81, 263), (352, 360), (9905, 10000)])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_wilson_is_scipys(correct: int, seen: int, confidence: float) -> None:
    expected = stats.binomtest(correct, seen).proportion_ci(confidence, method="wilson")
    assert wilson(correct, seen, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_is_the_published_example() -> None:
    """81 of 263 in Newcombe 1998, table I: 0.2553 to 0.3662."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@given(COUNTS)
def test_wilson_holds_the_share_and_stays_in_the_unit_interval(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0 <= low <= high <= 1
    if counts[1]:
        assert low <= counts[0] / counts[1] <= high
        mirrored = wilson(counts[1] - counts[0], counts[1])
        assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("correct", "seen"), [(2, 1), (-1, 3), (1, -1)])
def test_wilson_refuses_what_is_no_proportion(correct: int, seen: int) -> None:
    with pytest.raises(ValueError, match="between 0 and seen"):
        wilson(correct, seen)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_fraction(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence)


def test_difference_is_the_published_example() -> None:
    """56 of 70 against 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, on differences, method 10)."""
    assert difference((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference((5, 5), (0, 0)) == (-1.0, 1.0)


@given(COUNTS, COUNTS)
def test_difference_turns_with_its_sides(first: tuple[int, int], second: tuple[int, int]) -> None:
    low, high = difference(first, second)
    assert difference(second, first) == pytest.approx((-high, -low), abs=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30, 31, 200])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.995, 0.9999])
def test_student_is_scipys(freedom: int, probability: float) -> None:
    assert student_t(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-9)


@given(st.lists(VALUES, min_size=2, max_size=12))
def test_seeds_are_numpys_and_scipys(values: list[float]) -> None:
    spread = over_seeds([*values, math.nan])
    scale = max(1.0, max(abs(value) for value in values))
    assert spread.count == len(values)
    assert spread.mean == pytest.approx(np.mean(values), abs=1e-9 * scale)
    assert spread.std == pytest.approx(np.std(values, ddof=1), abs=1e-9 * scale)
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    assert spread.high - spread.low == pytest.approx(2 * half, abs=1e-8 * scale)


def test_one_seed_has_no_spread_and_none_has_no_mean() -> None:
    assert over_seeds([0.5]).mean == 0.5
    assert math.isnan(over_seeds([0.5]).std)
    assert math.isnan(over_seeds([]).mean)
    assert over_seeds([math.nan, math.inf]).count == 0


def test_the_interval_of_a_share_stays_a_share() -> None:
    free, cut = over_seeds([0.94, 0.98]), over_seeds([0.94, 0.98], limits=(0, 1))
    assert free.high > 1
    assert (cut.mean, cut.std, cut.low, cut.high) == (free.mean, free.std, free.low, 1)


def test_differences_that_are_alike_by_chance_keep_a_width():
    spread = over_seeds([0.5, 0.5, 0.5], smallest_std=0.01)
    assert (spread.mean, spread.std) == (0.5, 0.0)
    assert spread.high - spread.mean == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3))
    assert over_seeds([0.1, 0.9], smallest_std=0.01) == over_seeds([0.1, 0.9])


@given(st.tuples(*[st.integers(0, 300)] * 3))
def test_a_paired_difference_is_walds_with_an_image_added_to_each_side(counts: tuple[int, int, int]) -> None:
    first, second, alike = counts
    low, high = paired_difference(first, second, first + second + alike)
    each = np.repeat([1, -1, 0], [first + 1, second + 1, alike])  # hit of the first less hit of the second
    half = 1.959964 * each.std() / math.sqrt(len(each))
    assert (low, high) == pytest.approx((max(each.mean() - half, -1), min(each.mean() + half, 1)), abs=1e-6)


def test_a_paired_difference_turns_with_its_sides_and_agrees_with_the_exact_test_when_clear() -> None:
    low, high = paired_difference(30, 10, 1000)
    assert paired_difference(10, 30, 1000) == pytest.approx((-high, -low))
    assert low > 0
    assert stats.binomtest(30, 40).pvalue < 0.05  # McNemar's exact test
    low, high = paired_difference(22, 18, 1000)
    assert low < 0 < high
    assert stats.binomtest(22, 40).pvalue > 0.05


@given(COUNTS, st.floats(0, 1))
def test_paired_is_no_wider_than_independent_where_errors_go_together(counts: tuple[int, int], share: float) -> None:
    seen = counts[1] + 100
    only = round(share * min(counts[0], seen - counts[0]) / 4)  # both are right on most of the images that one is
    low, high = paired_difference(only, only, seen)
    wide_low, wide_high = difference((counts[0], seen), (counts[0], seen))
    assert high - low <= (wide_high - wide_low) * 1.05 + 2 / seen


@pytest.mark.parametrize("counts", [(-1, 0, 3), (2, 2, 3)])
def test_paired_counts_must_fit(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="add up to at most seen"):
        paired_difference(*counts)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_scipys_exact_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert mcnemar(second, first) == mcnemar(first, second)


@pytest.mark.parametrize(("few", "many"), [(0, 1), (0, 5), (0, 6), (1, 10_000), (4_900, 5_100), (24_000, 26_000)])
def test_mcnemar_is_exact_for_few_images_and_many(few: int, many: int) -> None:
    assert mcnemar(few, many) == pytest.approx(stats.binomtest(few, few + many).pvalue, rel=1e-9, abs=1e-300)
    with pytest.raises(ValueError, match="cannot be negative"):
        mcnemar(-1, many)


@pytest.mark.parametrize("freedom", [1, 2, 3, 18, 41])
@pytest.mark.parametrize("t", [0.0, 0.3, -2.5, 12.7])
def test_p_values_of_statistics_are_scipys(freedom: int, t: float) -> None:
    assert student_p(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-6, abs=1e-14)
    assert normal_p(t) == pytest.approx(2 * stats.norm.sf(abs(t)), rel=1e-9)


def test_holm_is_the_published_rule() -> None:
    """A worked example: 0.01 <= 0.05/4, 0.015 <= 0.05/3, 0.03 > 0.05/2, so that 0.04 <= 0.05 does not count either."""
    assert holm([0.04, 0.01, 0.03, 0.015]) == [False, True, False, True]
    assert holm([0.04, 0.01, 0.02, 0.015]) == [True] * 4
    assert holm([]) == []


@given(st.lists(st.floats(0, 0.2), max_size=12), st.randoms(use_true_random=False))
def test_holm_lies_between_bonferroni_and_no_correction_in_any_order(values: list[float], mix: Any) -> None:
    found = holm(values)
    for value, rejected in zip(values, found, strict=True):
        assert not rejected or value <= 0.05
        assert rejected or value > 0.05 / len(values)
    order = list(range(len(values)))
    mix.shuffle(order)
    mixed = holm([values[index] for index in order])
    alike = [index for index in order if values.count(values[index]) == 1]
    assert [mixed[order.index(index)] for index in alike] == [found[index] for index in alike]
