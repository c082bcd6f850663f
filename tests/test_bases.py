"""Laws of the orthonormal bases."""

import numpy as np
import pytest
import scipy.fft
import torch

from methods.layers.bases import BASES, basis

SIZES = [*range(1, 66), 127, 250, 512]


@pytest.mark.parametrize(("kind", "transform"), [("dct", scipy.fft.dct), ("dst", scipy.fft.dst)])
def test_equals_scipy_at_every_size(kind, transform):
    for n in SIZES:
        expected = transform(np.eye(n), type=2, norm="ortho", axis=0)
        np.testing.assert_allclose(basis(kind, n).numpy(), expected, atol=1e-12, err_msg=f"n={n}")


@pytest.mark.parametrize("kind", BASES)
def test_rows_are_orthonormal(kind):
    for n in SIZES:
        matrix = basis(kind, n)
        assert matrix.shape == (n, n)
        assert matrix.dtype == torch.float64
        assert (matrix @ matrix.T - torch.eye(n)).abs().max() < 1e-6, f"n={n}"


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize(("n", "rows"), [(1, 1), (7, 3), (64, 64), (65, 1)])
def test_asking_for_the_first_rows_gives_the_first_rows(kind, n, rows):
    assert torch.equal(basis(kind, n, rows), basis(kind, n)[:rows])


@pytest.mark.parametrize("kind", BASES)
def test_frequency_rises_with_the_row(kind):
    changes = (basis(kind, 33).diff(dim=1) ** 2).sum(1)
    assert (changes.diff() > 0).all()


@pytest.mark.parametrize(("n", "rows"), [(0, 0), (4, 0), (4, 5), (-1, None)])
def test_sizes_that_do_not_fit_are_refused(n, rows):
    with pytest.raises(ValueError, match="1 to n rows"):
        basis("dct", n, rows)


def test_an_unknown_basis_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown basis 'dkt': use one of dct"):
        basis("dkt", 4)
