"""Laws of the histogram that ranges of activations are chosen from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.quantization.calibration import chosen_range
from methods.quantization.histogram import Histogram


def seen(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def drawn(count, scale=1.0, seed=0):
    return scale * torch.randn(count, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40).map(torch.tensor), min_size=1, max_size=6
    )
)
def test_every_value_is_counted_once_and_near_where_it_was(batches):
    middles, counts = seen(*batches).values()
    values = torch.cat(batches)
    assert counts.sum() == len(values)
    reach = max(values.max().item(), 0) - min(values.min().item(), 0)
    apart = (torch.repeat_interleave(middles, counts.long()) - values.sort().values).abs().max()
    assert apart <= reach / 1024 + 1e-12


@pytest.mark.parametrize("scales", [(1, 1e4, 1e-4), (1e-4, 1, 1e4), (1e4, 1e-4, 1)])
def test_the_order_of_batches_does_not_matter(scales):
    batches = [drawn(500, scale, seed) for seed, scale in enumerate(scales)]
    one, other = seen(*batches), seen(*reversed(batches))
    assert [torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True)] == [True, True]


def test_the_zeros_of_a_relu_are_zero():
    middles, counts = seen(drawn(1000).relu()).values()
    assert counts[middles == 0] >= 400


def test_minmax_is_all_that_was_seen_and_percentile_leaves_the_rarest_out():
    values = drawn(200_000)
    values[17] = 50.0
    histogram = seen(*values.split(7_001))
    assert chosen_range(histogram, "minmax") == pytest.approx((values.min().item(), 50.0))
    low, high = chosen_range(histogram, "percentile")
    share = ((values >= low) & (values <= high)).float().mean()
    assert 0.9998 <= share < 1
    assert high < 6


def test_percentiles_are_numpys():
    values = drawn(10_001, seed=3)
    low, high = seen(values).percentile(0.98)
    expected = np.quantile(values.numpy(), [0.01, 0.99])
    assert np.allclose([low, high], expected, atol=0.01)


def test_an_outlier_does_not_set_the_least_squares_range():
    values = drawn(200_000)
    values[0] = 12.0
    assert chosen_range(seen(values), "histogram")[1] < 9


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_an_error(wrong):
    with pytest.raises(ValueError, match="diverged"):
        seen(torch.tensor([1.0, wrong]))
