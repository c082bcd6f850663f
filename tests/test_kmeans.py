"""Laws of k-means of numbers."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from methods.sharing.kmeans import Clusters, clustered, rounds
from tests.drawing import drawn

STARTS = ["linear", "density"]


def squared_error(values, found: Clusters):
    return (found.centroids[found.places(values)] - values.double()).square().sum().item()


def costs(ordered, found, shares, rate):
    """Literally: the least over all values of squared error plus the price of the bits that its share takes."""
    price = rate * ordered.var(correction=0)
    every = (ordered[:, None] - found[None]).square() + price * -shares.log2()[None]  # [n, k]
    return every.min(1).values.sum().item()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
def test_it_ends_where_sklearn_ends_from_the_same_values(count, start):
    values = torch.rand(300, generator=torch.Generator().manual_seed(0)) * 6 - 2  # none of the values goes without
    ordered = values.double().sort().values
    if start == "density":
        first = ordered[((torch.arange(count) + 0.5) / count * 300).long()]
    else:
        first = torch.linspace(ordered[0], ordered[-1], count) if count > 1 else ordered[[0, -1]].mean()[None]
    theirs = KMeans(count, init=first[:, None].numpy(), n_init=1, tol=0, max_iter=1000).fit(values.double()[:, None])
    ours = clustered(values, count, start=start)
    assert np.allclose(ours.centroids, np.sort(theirs.cluster_centers_[:, 0]), atol=1e-6)
    assert squared_error(values, ours) == pytest.approx(theirs.inertia_)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("zero", [False, True])
def test_the_error_never_rises_from_round_to_round(start, zero):
    ordered = (drawn(500).double() ** 3).sort().values
    first = torch.linspace(-20, 20, 9, dtype=torch.float64)
    if start == "density":
        first = torch.unique(torch.cat([ordered[::70], torch.zeros(1, dtype=torch.float64)]))
    before = math.inf
    for found in rounds(ordered, first, zero=zero):
        error = (ordered[:, None] - found.centroids[None]).square().min(1).values.sum().item()
        assert error <= before * (1 + 1e-12)
        assert found.counts.sum() == 500
        assert not zero or (found.centroids[found.fixed] == 0).all()
        before = error
    assert before < ordered.square().sum() / 10


@pytest.mark.parametrize("rate", [0.003, 0.03, 0.3])
def test_with_a_price_the_cost_never_rises_and_every_number_takes_the_cheapest_value(rate):
    ordered = drawn(400).double().sort().values
    before = math.inf
    for found in rounds(ordered, torch.linspace(-3, 3, 16, dtype=torch.float64), rate=rate):
        used = found.counts > 0
        cost = costs(ordered, found.centroids[used], found.counts[used] / 400, rate)
        assert cost <= before * (1 + 1e-12)
        before = cost
    last = clustered(ordered, 16, start="linear", rate=rate)
    price = rate * ordered.var(correction=0)
    every = (ordered[:, None] - last.centroids[None]).square() + price * -(last.counts / 400).log2()[None]
    chosen = every.gather(1, last.places(ordered)[:, None])[:, 0]
    assert torch.allclose(chosen, every.min(1).values)


def entropy(found):
    shares = found.counts / found.counts.sum()
    return -(shares * shares.log2()).sum().item()


def test_a_higher_price_takes_fewer_bits_and_more_error():
    values = drawn(2000)
    found = [clustered(values, 16, start="linear", rate=rate) for rate in (0.0, 0.01, 0.05, 0.3)]
    assert sorted(map(entropy, found), reverse=True) == list(map(entropy, found))
    assert sorted(squared_error(values, one) for one in found) == [squared_error(values, one) for one in found]
    assert entropy(found[-1]) < 0.5 * entropy(found[0])


@pytest.mark.parametrize("rate", [0.0, 0.05])
@pytest.mark.parametrize("zero", [False, True])
def test_order_does_not_matter(rate, zero):
    values = drawn(257)
    shuffled = values[torch.randperm(257, generator=torch.Generator().manual_seed(1))]
    one, other = (clustered(x, 8, start="linear", rate=rate, zero=zero) for x in (values, shuffled))
    assert torch.equal(one.centroids, other.centroids)
    assert torch.equal(one.counts, other.counts)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("rate", [0.0, 0.02])
def test_all_values_are_used_and_counted(start, rate):
    values = drawn(300) ** 3
    found = clustered(values, 16, start=start, rate=rate)
    assert torch.equal(torch.bincount(found.places(values), minlength=len(found.centroids)), found.counts)
    assert (found.counts > 0).all()
    assert len(found.centroids) <= 16
    assert (found.centroids.diff() > 0).all()


@pytest.mark.parametrize("start", STARTS)
def test_with_few_distinct_numbers_each_keeps_its_own(start):
    values = torch.tensor([0.5, -1.0, 0.5, 3.0, -1.0])
    found = clustered(values, 4, start=start)
    assert found.centroids.tolist() == [-1.0, 0.5, 3.0]
    assert torch.equal(found.centroids[found.places(values)].float(), values)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("value", [0.0, -2.5])
@pytest.mark.parametrize("size", [1, 9])
def test_constants(start, zero, value, size):
    found = clustered(torch.full((size,), value), 4, start=start, zero=zero)
    assert found.centroids.tolist() == [value]
    assert found.places(torch.full((size,), value)).tolist() == [0] * size


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("rate", [0.0, 0.01])
@pytest.mark.parametrize("count", [2, 4, 16])
def test_zero_stays_zero_and_is_one_of_the_values(start, rate, count):
    values = drawn(400)
    values[values.abs() < 1] = 0
    found = clustered(values, count, start=start, rate=rate, zero=True)
    assert (found.centroids[found.fixed] == 0).all()
    assert found.fixed.sum() == 1
    assert len(found.centroids) <= count
    assert (found.centroids[found.places(torch.zeros(1))] == 0).all()


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, 0.0]])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="finite numbers"):
        clustered(torch.tensor(values), 2, start="linear")
