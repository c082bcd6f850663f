"""Laws of what is kept of a spectrum and of its packed form."""

import itertools
import math

import numpy as np
import pytest
import torch

from methods.layers.packing import Box, pack, triangle_count, unpack

BOXES = [
    Box(3, 4), Box(1, 1, (), 1), Box(5, 7, (), 4), Box(5, 7, (), 11), Box(4, 4, (3, 3), 0, 2), Box(6, 2, (2, 3), 3, 1),
    Box(7, 1, (5, 1), 5, 5),
]  # fmt: skip


@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("groups", [1, 3])
def test_packing_and_unpacking_give_the_kept_coefficients_back(box, groups):
    spectrum = torch.randn(groups * box.outputs, *box.shape[1:], generator=torch.Generator().manual_seed(2))
    packed = pack(spectrum, box, groups)
    rows, *rest = box.stored_shape
    assert packed.shape == (groups * rows, *rest)
    assert packed.numel() == groups * box.count
    if box.is_rectangle:
        assert packed is spectrum
        return
    again = unpack(packed, box.places(), box, groups)
    kept = torch.from_numpy(np.concatenate([box.support()] * groups))
    assert torch.equal(again, torch.where(kept, spectrum, 0))


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_counts_are_those_of_the_support_and_rows_are_at_most_the_outputs(box):
    assert box.count == box.support().sum() == math.prod(box.stored_shape)
    assert box.is_rectangle or box.stored_shape[0] <= box.outputs


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 4), (3, 8), (9, 2)])
def test_a_triangle_is_what_lies_below_its_side(rows, columns):
    for side in range(1, rows + columns):
        expected = sum(i + j < side for i, j in itertools.product(range(rows), range(columns)))
        assert triangle_count(rows, columns, side) == expected
    assert triangle_count(rows, columns, 0) == triangle_count(rows, columns, rows + columns - 1) == rows * columns


def test_gradients_go_to_the_kept_ones_alone():
    box = Box(4, 5, (), 4)
    packed = torch.zeros(box.stored_shape, requires_grad=True)
    unpack(packed, box.places(), box, 1).sum().backward()
    assert torch.equal(packed.grad, torch.ones(box.stored_shape))


@pytest.mark.parametrize("wrong", [(0, 3), (3, -1), (2, 2, (0, 3)), (2, 2, (1,)), (2, 2, (), -1)])
def test_impossible_sides_are_refused(wrong):
    with pytest.raises(ValueError, match="sides of at least 1"):
        Box(*wrong)


def test_a_triangle_too_large_to_lay_out_is_refused_at_once():
    with pytest.raises(ValueError, match="sides of at most"):
        Box(2**60, 2**60, (), 2**59)
    assert Box(2**60, 2**60).count == 2**120
