"""References of the kernels against NumPy's own arithmetic, written another way, on awkward shapes."""

import numpy as np
import pytest
import torch

from cuda_kernels import ops

SHAPES = [(1, 1, 1), (3, 5, 7), (1, 4, 33), (17, 1, 2), (2, 3, 0), (0, 2, 3), (2, 0, 3)]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_near(found, expected, error=1e-6):
    assert found.shape == torch.Size(expected.shape)
    assert np.linalg.norm(found.double().numpy() - expected) <= error * np.linalg.norm(expected)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_gemm_f32_is_a_sum_of_outer_products(m, n, k):
    a, b = drawn(m, k), drawn(k, n, seed=1)
    expected = np.zeros((m, n))
    for step in range(k):
        expected += np.multiply.outer(a[:, step].astype(float), b[step].astype(float))
    assert_near(ops.gemm_f32(torch.from_numpy(a), torch.from_numpy(b)), expected)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (1, 33), (0, 4), (4, 0)])
def test_gemv_f32_is_a_sum_of_columns(rows, columns):
    a, x = drawn(rows, columns), drawn(columns, seed=1)
    expected = sum((a[:, i].astype(float) * float(x[i]) for i in range(columns)), np.zeros(rows))
    assert_near(ops.gemv_f32(torch.from_numpy(a), torch.from_numpy(x)), expected)
