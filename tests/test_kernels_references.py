"""References of the kernels against NumPy's own arithmetic, written another way, on awkward shapes."""

import numpy as np
import pytest
import torch

from cuda_kernels import ops
from cuda_kernels.csr import check_csr, to_csr, to_dense
from cuda_kernels.gemm_i8.op import MOST_DEPTH

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


def codes(*shape, seed=0):
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize("relu", [False, True])
def test_gemm_i8_is_a_product_of_integers(m, n, k, relu):
    a, b = codes(m, k), codes(n, k, seed=1)
    sums = a.astype(np.int64) @ b.astype(np.int64).T
    found = ops.gemm_i8(torch.from_numpy(a), torch.from_numpy(b), relu=relu)
    assert found.dtype == torch.int32
    assert np.array_equal(found.numpy(), np.maximum(sums, 0) if relu else sums)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_gemm_i8_scales_adds_and_then_cuts(biased, relu):
    a, b, scale = codes(4, 9), codes(5, 9, seed=1), np.abs(drawn(5)) + np.float32(0.1)
    bias = drawn(5, seed=2) * 1e4 if biased else np.zeros(5)
    expected = (a.astype(np.int64) @ b.astype(np.int64).T) * scale.astype(float) + bias
    given = torch.from_numpy(bias) if biased else None
    found = ops.gemm_i8(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(scale), given, relu)
    assert found.dtype == torch.float32
    assert_near(found, np.maximum(expected, 0) if relu else expected)


def test_the_largest_sum_that_is_allowed_fits_int32():
    a = torch.full((1, MOST_DEPTH), -128, dtype=torch.int8)
    assert ops.gemm_i8(a, a).item() == MOST_DEPTH * 128**2 < 2**31 <= (MOST_DEPTH + 1) * 128**2


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (1, 33), (0, 4), (4, 0)])
def test_gemv_f32_is_a_sum_of_columns(rows, columns):
    a, x = drawn(rows, columns), drawn(columns, seed=1)
    expected = sum((a[:, i].astype(float) * float(x[i]) for i in range(columns)), np.zeros(rows))
    assert_near(ops.gemv_f32(torch.from_numpy(a), torch.from_numpy(x)), expected)


def sparse(rows, columns, kept, seed=0):
    generator = np.random.default_rng(seed)
    return drawn(rows, columns, seed=seed) * (generator.random((rows, columns)) < kept).astype(np.float32)


@pytest.mark.parametrize(("rows", "columns", "n"), [(1, 1, 1), (5, 7, 3), (40, 3, 1), (3, 40, 2), (0, 4, 2), (4, 0, 2)])
@pytest.mark.parametrize("kept", [0.0, 0.3, 1.0])
def test_sparse_products_are_those_of_the_dense_matrix(rows, columns, n, kept):
    dense, b, x = sparse(rows, columns, kept), drawn(columns, n, seed=1), drawn(columns, seed=2)
    matrix = to_csr(torch.from_numpy(dense))
    check_csr(*matrix, columns)
    assert len(matrix[2]) == np.count_nonzero(dense)
    assert_near(ops.spmm_csr(*matrix, torch.from_numpy(b)), dense.astype(float) @ b.astype(float))
    assert_near(ops.spmv_csr(*matrix, torch.from_numpy(x)), dense.astype(float) @ x.astype(float))


def test_rows_that_no_entry_needs_are_not_touched():
    dense, b = np.array([[0, 2], [0, 0]], np.float32), np.array([[np.inf], [3]], np.float32)
    assert ops.spmm_csr(*to_csr(torch.from_numpy(dense)), torch.from_numpy(b)).tolist() == [[6], [0]]


@pytest.mark.parametrize("kept", [0.0, 0.4])
def test_a_matrix_by_rows_is_the_dense_one(kept):
    dense = torch.from_numpy(sparse(6, 9, kept))
    assert torch.equal(to_dense(*to_csr(dense), 9), dense)


@pytest.mark.parametrize(
    ("row_starts", "columns", "message"),
    [
        ([1, 2, 3], [0, 1, 2], "row_starts must ascend from 0 to the number of entries, 3, got 1 to 3"),
        ([0, 1, 2], [0, 1, 2], "row_starts must ascend from 0 to the number of entries, 3, got 0 to 2"),
        ([0, 4, 3], [0, 1, 2], "row_starts must ascend from 0 .* got 0 to 3 and a step down"),
        ([0, 1, 3], [0, 1, 4], r"columns must be in \[0, 4\), got 0 to 4"),
        ([0, 1, 3], [-1, 1, 2], r"columns must be in \[0, 4\), got -1 to 2"),
        ([0, 1, 3], [3, 2, 1], "columns must ascend within each row"),
        ([0, 0, 3], [1, 1, 2], "columns must ascend within each row"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused(row_starts, columns, message):
    starts, places = torch.tensor(row_starts, dtype=torch.int32), torch.tensor(columns, dtype=torch.int32)
    with pytest.raises(ValueError, match=message):
        check_csr(starts, places, torch.ones(len(columns)), 4)


def test_columns_may_step_down_where_a_row_starts():
    starts, places = torch.tensor([0, 2, 2, 4], dtype=torch.int32), torch.tensor([2, 3, 0, 1], dtype=torch.int32)
    check_csr(starts, places, torch.ones(4), 4)


def test_only_matrices_become_sparse():
    with pytest.raises(ValueError, match=r"a matrix is needed, got shape \[3\]"):
        to_csr(torch.ones(3))
