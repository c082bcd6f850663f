"""Laws of the statistics, against scipy and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import difference, over_seeds, pareto_front, quartiles, student_t, wilson

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


@given(st.lists(VALUES, min_size=1, max_size=40))
def test_quartiles_are_numpys(samples: list[float]) -> None:
    found = quartiles(samples)
    assert (found.low, found.median, found.high) == pytest.approx(np.percentile(samples, [25, 50, 75]), abs=1e-6)


def test_spread_is_the_interquartile_range_over_the_median() -> None:
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]).spread == pytest.approx(2 / 3)
    assert quartiles([0.0, 0.0]).spread == 0.0
    assert math.isnan(quartiles([]).median)
    assert math.isnan(quartiles([1.0, math.nan]).median)


POINT = st.tuples(*[st.one_of(st.integers(0, 6).map(float), st.just(math.nan), st.just(math.inf))] * 2)


@given(st.lists(POINT, max_size=20))
def test_front_holds_exactly_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    front = pareto_front(points)
    finite = [i for i, point in enumerate(points) if all(map(math.isfinite, point))]

    def beats(other: int, one: int) -> bool:
        (cost, value), (cost_one, value_one) = points[other], points[one]
        better = (cost, -value) != (cost_one, -value_one) or other < one
        return cost <= cost_one and value >= value_one and better

    assert sorted(front) == [one for one in finite if not any(beats(other, one) for other in finite if other != one)]
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def test_the_interval_of_a_share_stays_a_share() -> None:
    free, cut = over_seeds([0.94, 0.98]), over_seeds([0.94, 0.98], limits=(0, 1))
    assert free.high > 1
    assert (cut.mean, cut.std, cut.low, cut.high) == (free.mean, free.std, free.low, 1)
