"""Laws of the form that a fraction takes, and of a budget spread over layers."""

import itertools
import math

import pytest
import torch

from methods.allocation import Sides, box_for, corner, fractions_near, kept_energy, spread
from methods.layers.packing import Box

SIDES = [
    Sides(10, 84), Sides(64, 3, (3, 3)), Sides(1, 1, (3, 3)), Sides(50, 20, (5, 5)), Sides(16, 16, (1, 1)),
    Sides(7, 1, (1, 5)), Sides(1, 1),
]  # fmt: skip
KEEPS = [0.001, 0.03, 0.2, 0.5, 0.93, 1.0]


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("axes", ["channels", "spatial", "all"])
@pytest.mark.parametrize("triangle", [False, True])
def test_at_most_the_fraction_is_kept_of_the_axes_that_are_cut(sides, axes, triangle):
    counts = []
    for keep in KEEPS:
        box = box_for(sides, keep, axes, triangle)
        counts.append(box.count)
        taps, channels = math.prod(sides.taps), sides.outputs * sides.inputs
        spatial = axes == "spatial" and taps > 1
        least = {"channels": taps, "spatial": channels if spatial else 1, "all": 1}[axes]
        assert least <= box.count <= max(least, keep * sides.count)
        assert all(
            kept <= side for kept, side in zip(box.shape, (sides.outputs, sides.inputs, *sides.taps), strict=True)
        )
        if axes == "channels":
            assert box.taps == sides.taps
        if spatial:
            assert (box.outputs, box.inputs) == (sides.outputs, sides.inputs)
    assert counts == sorted(counts)
    assert counts[-1] == sides.count


@pytest.mark.parametrize("axes", ["channels", "all"])
@pytest.mark.parametrize("triangle", [False, True])
def test_large_layers_are_cut_to_the_fraction_nearly(axes, triangle):
    sides = Sides(256, 512, (3, 3))
    for keep in (0.05, 0.25, 0.5):
        assert box_for(sides, keep, axes, triangle).count == pytest.approx(keep * sides.count, rel=0.02)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (10, 84), (512, 512), (3, 64), (120, 16)])
def test_the_corner_fits_and_is_as_square_as_it_can_be(height, width):
    assert corner(height, width, 1.0) == (height, width)
    for keep in (0.001, 0.05, 0.2, 0.5, 0.99):
        rows, columns = corner(height, width, keep)
        assert 1 <= rows <= height
        assert 1 <= columns <= width
        assert rows * columns <= max(1, keep * height * width)
        assert rows * columns >= keep * height * width - max(rows, columns) - 1
        assert abs(rows - columns) <= 3 or min(rows - height, columns - width) == -max(height - rows, width - columns)


def test_energy_is_the_share_of_the_squares_in_the_box():
    spectrum = torch.tensor([[3.0, 4.0], [0.0, 5.0], [1.0, 0.0], [0.0, 0.0]])  # two groups of [2, 2]
    assert kept_energy(spectrum, Box(1, 1), 2) == pytest.approx(10 / 51)
    assert kept_energy(spectrum, Box(2, 2, (), 2), 2) == pytest.approx(26 / 51)
    assert kept_energy(spectrum, Box(2, 2), 2) == pytest.approx(1)


def test_a_spread_budget_is_kept_and_equals_the_best_of_all_choices_on_its_hull():
    curves = {
        "flat": [(count, count / 100) for count in (10, 20, 40, 80, 100)],
        "steep": [(count, 1 - 0.8 ** (count / 4)) for count in (10, 20, 40, 80, 100)],
        "small": [(count, count / 8) for count in (1, 2, 4, 8)],
    }
    for budget in (21, 40, 60, 90, 150, 208, 1000):
        choice = spread(curves, budget)
        total = sum(curves[name][index][0] for name, index in choice.items())
        gain = math.prod(curves[name][index][1] for name, index in choice.items())
        assert total <= budget
        for name, curve in curves.items():  # nothing that would gain still fits
            larger = [count for count, share in curve if share > curve[choice[name]][1]]
            assert not any(count - curve[choice[name]][0] <= budget - total for count in larger)
        for other in itertools.product(*(range(len(curve)) for curve in curves.values())):
            picked = [curve[index] for curve, index in zip(curves.values(), other, strict=True)]
            if sum(count for count, _ in picked) <= total:
                assert math.prod(share for _, share in picked) <= gain * (1 + 1e-9)


def test_what_a_price_leaves_over_is_spent():
    """The middle candidate lies below the straight line between the others: no price chooses it."""
    assert spread({"a": [(1, 0.10), (50, 0.11), (100, 0.9)]}, 60) == {"a": 1}
    assert spread({"a": [(1, 0.10), (50, 0.11), (100, 0.9)], "b": [(5, 0.2), (9, 0.2)]}, 60) == {"a": 1, "b": 0}


def test_all_axes_are_cut_by_about_the_fourth_root():
    found = {keep: box_for(Sides(256, 256, (3, 3)), keep, "all", triangle=False) for keep in (0.9, 0.5, 0.2, 0.05)}
    assert [math.prod(box.taps) for box in found.values()] == [9, 6, 4, 2]
    for keep, box in found.items():
        assert 0.98 * keep < box.count / (256 * 256 * 9) <= keep


def test_a_layer_that_concentrates_its_energy_is_cut_further():
    curves = {
        "smooth": [(count, min(1, 0.9 + count / 1000)) for count in (10, 20, 40, 80)],
        "rough": [(count, count / 80) for count in (10, 20, 40, 80)],
    }
    choice = spread(curves, 90)
    assert choice["smooth"] < choice["rough"]


def test_what_cannot_fit_takes_the_least_of_each():
    assert spread({"a": [(5, 0.1), (9, 0.2)], "b": [(5, 0.1), (9, 0.9)]}, 3) == {"a": 0, "b": 0}


def test_fractions_near_hold_the_fraction_itself_and_stay_in_range():
    for keep in (0.01, 0.3, 1.0):
        near = fractions_near(keep)
        assert keep in near
        assert near == sorted(set(near))
        assert 0 < near[0] <= near[-1] <= 1
