"""Weights with two of every four kept: what is stored is the weights, and lies where the tensor cores look for it."""

import itertools

import pytest
import torch

from cuda_kernels import ops
from cuda_kernels.spmm_24.bench import kept_two
from cuda_kernels.spmm_24.compression import compress_24, expand_24

SHAPES = [(1, 4), (3, 12), (16, 128), (17, 132), (40, 260), (0, 8), (5, 0)]


def weights(rows, columns, kept=1.0, dtype=torch.float16):
    torch.manual_seed(rows + columns)
    return (kept_two(torch.randn(rows, columns)) * (torch.rand(rows, columns) < kept)).to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kept", [0.0, 0.6, 1.0])
def test_what_is_stored_is_the_weights(shape, kept):
    dense = weights(*shape, kept)
    values, places = compress_24(dense)
    assert values.shape == (shape[0], shape[1] // 2)
    assert torch.equal(expand_24(values, places), dense)


@pytest.mark.parametrize("shape", [(3, 12), (17, 132), (40, 260)])
def test_places_lie_where_the_manual_of_the_instruction_says(shape):
    """Bit by bit, as m16n8k32 reads them: the lanes 2 p and 2 p + 1 of each four for step p, halves of 16 bits for the
    rows l / 4 and l / 4 + 8, four bits a four of columns."""
    dense = weights(*shape)
    values, places = compress_24(dense)
    found = torch.zeros(places.shape[0] * 16, places.shape[1] * 128, dtype=dense.dtype)
    padded = torch.zeros(len(found), found.shape[1] // 2, dtype=dense.dtype)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = itertools.product(range(places.shape[0]), range(places.shape[1]), range(4), range(8), range(2))
    for down, across, step, group, part in blocks:
        word = places[down, across, 32 * (step // 2) + 4 * group + 2 * (step % 2) + part].item() & 0xFFFFFFFF
        for half, four in itertools.product(range(2), range(4)):
            bits = word >> (16 * half + 4 * four) & 15
            row, column = 16 * down + group + 8 * half, 128 * across + 32 * step + 16 * part + 4 * four
            assert bits & 3 < bits >> 2
            found[row, column + (bits & 3)] = padded[row, column // 2]
            found[row, column + (bits >> 2)] = padded[row, column // 2 + 1]
    assert torch.equal(found[: shape[0], : shape[1]], dense)
    assert not found[shape[0] :].any()
    assert not found[:, shape[1] :].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_layer_is_the_dense_one(shape):
    dense = weights(*shape, dtype=torch.bfloat16)
    x, bias = torch.randn(3, shape[1]).bfloat16(), torch.randn(shape[0]).bfloat16()
    expected = (x.double().numpy() @ dense.double().numpy().T) + bias.double().numpy()
    found = ops.spmm_24(x, *compress_24(dense), bias)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.double(), torch.from_numpy(expected), rtol=2**-8, atol=1e-30)


def test_three_of_four_are_refused_with_their_place():
    dense = torch.zeros(3, 8)
    dense[1, 4:7] = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"row 1 has \[1.0, 2.0, 3.0, 0.0\] from column 4 on: prune with pattern=2of4"):
        compress_24(dense)


@pytest.mark.parametrize("shape", [(3, 6), (4,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="in a multiple of 4 is needed"):
        compress_24(torch.zeros(shape))
