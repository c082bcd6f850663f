"""Laws of the orthonormal bases."""

import warnings

import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.linalg
import torch

from methods.layers.bases import BASES, basis
from methods.layers.wavelets import LOW_PASS, level

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
    torch.testing.assert_close(basis(kind, n, rows), basis(kind, n)[:rows], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["dct", "dst", "hadamard"])
def test_frequency_rises_with_the_row(kind):
    changes = (basis(kind, 32).diff(dim=1) ** 2).sum(1)
    assert (changes.diff() > 0).all()


def test_dft_is_the_real_spectrum_in_the_order_of_frequency():
    for n in SIZES:
        spectrum = np.fft.rfft(np.eye(n), axis=0)  # row k: frequency k of each unit vector
        parts = [part for k in range(n // 2 + 1) for part in (spectrum[k].real, -spectrum[k].imag)]
        expected = np.stack([part for part in parts if np.abs(part).max() > 1e-9])
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(basis("dft", n).numpy(), expected, atol=1e-12, err_msg=f"n={n}")


def test_hadamard_is_scipys_where_that_exists():
    for n in (1, 2, 4, 8, 64, 512):
        walsh = scipy.linalg.hadamard(n) / np.sqrt(n)
        changes = (np.diff(np.sign(walsh), axis=1) != 0).sum(1)
        assert sorted(changes) == list(range(n))
        np.testing.assert_allclose(basis("hadamard", n).numpy(), walsh[np.argsort(changes)], atol=1e-12)


def test_hadamard_of_other_lengths_is_made_of_blocks():
    matrix = basis("hadamard", 7).numpy()
    used = [tuple(np.flatnonzero(row)) for row in matrix]
    assert sorted(set(used)) == [(0, 1, 2, 3), (4, 5), (6,)]
    assert [used.count(one) for one in sorted(set(used))] == [4, 2, 1]


@pytest.mark.parametrize("family", LOW_PASS)
@pytest.mark.parametrize("n", [2, 4, 8, 16, 64, 256])
def test_wavelets_are_those_of_pywavelets_at_powers_of_two(family, n):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of wrapping more than once around, which is meant
        expected = [
            np.concatenate(pywt.wavedec(unit, family, mode="periodization", level=n.bit_length() - 1))
            for unit in np.eye(n)
        ]
    np.testing.assert_allclose(basis(family, n).numpy(), np.array(expected).T, atol=1e-9)


@pytest.mark.parametrize(("family", "moments"), [("haar", 1), ("db2", 2), ("db4", 4), ("sym4", 4), ("coif1", 2)])
def test_wavelets_do_not_see_polynomials(family, moments):
    _, high = level(family, 64)
    inside = high[5:-5].numpy()  # rows that do not wrap
    for power in range(moments):
        assert np.abs(inside @ (np.arange(64.0) / 64) ** power).max() < 1e-9
    assert np.abs(inside @ (np.arange(64.0) / 64) ** moments).max() > 1e-9


def test_a_wavelet_of_odd_length_hands_its_last_sample_up():
    """Of 3 samples the first two make a pair; its mean and the third make the next."""
    half = np.sqrt(0.5)
    expected = np.array([[0.5, 0.5, half], [0.5, 0.5, -half], [half, -half, 0]])
    np.testing.assert_allclose(basis("haar", 3).numpy(), expected, atol=1e-12)


def test_random_bases_differ_by_seed_and_are_always_the_same():
    assert not torch.allclose(basis("random:1", 8), basis("random:2", 8))
    assert torch.equal(basis("random", 8), basis("random:0", 8))
    expected = [0.58002, 0.13163]  # what files written before rely on
    torch.testing.assert_close(basis("random:0", 4, 1)[0, :2], torch.tensor(expected).double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n", "rows"), [(0, 0), (4, 0), (4, 5), (-1, None)])
def test_sizes_that_do_not_fit_are_refused(n, rows):
    with pytest.raises(ValueError, match="1 to n rows"):
        basis("dct", n, rows)


def test_an_unknown_basis_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown basis 'dkt': use one of coif1, db2"):
        basis("dkt", 4)
