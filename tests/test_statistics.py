"""Laws of the statistics, against scipy and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics import pareto_front, quartiles

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


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
