"""The transforms of the spectral kernel, compiled for the host and run thread by thread, against the bases."""

import ctypes
import math
import shutil
import subprocess

import pytest
import torch

from cuda_kernels.spectral_linear.reference import basis, cosines
from tests.drawing import drawn
from tests.test_architecture import ROOT

COMPILER = shutil.which("c++")
LOGS = range(4, 13)  # of half the length: all that the kernel takes
# The steps of `analyse` and `synthesise` in transforms.cuh; a loop over t stands where a barrier ends what threads do.
SOURCE = """
#include <vector>
#include "fft.cuh"

struct Thread { Complex v[kPointsPerThread]; };

static void transform_row(std::vector<Thread>& all, Complex* buffer, int log, const float* cosines) {
  const int threads = static_cast<int>(all.size());
  int done = 0;
  for (; done + 4 < log; done += 4) {
    for (int t = 0; t < threads; ++t) pass<16>(all[t].v, t, done, log, cosines);
    for (int t = 0; t < threads; ++t) scatter(all[t].v, buffer, t, done);
    for (int t = 0; t < threads; ++t) gather(all[t].v, buffer, t, log);
  }
  for (int t = 0; t < threads; ++t) last_pass(all[t].v, t, done, log, cosines);
}

extern "C" void analyse(const float* x, float* z, int log, const float* cosines) {
  const int points = 1 << log, n = 2 * points, threads = points / kPointsPerThread;
  std::vector<Complex> buffer(padded(log));
  std::vector<Thread> all(threads);
  for (int m = 0; m < points / 2; ++m) {
    buffer[place(m)] = {x[4 * m], x[4 * m + 2]};
    buffer[place(points - 1 - m)] = {x[4 * m + 3], x[4 * m + 1]};
  }
  for (int t = 0; t < threads; ++t) gather(all[t].v, buffer.data(), t, log);
  transform_row(all, buffer.data(), log, cosines);
  for (int t = 0; t < threads; ++t) put_back(all[t].v, buffer.data(), t, log);
  for (int k = 0; k <= points / 2; ++k) {
    const Complex mirror = buffer[place((points - k) & (points - 1))];
    const Quadruple sums = cosine_sums(buffer[place(k)], mirror, turn(cosines, k, log));
    z[k] = sums.at_k;
    if (k > 0) z[n - k] = sums.at_n_less_k;
    z[points - k] = sums.at_half_less_k;
    if (k > 0) z[points + k] = sums.at_half_more_k;
  }
}

extern "C" void synthesise(const float* u, float* y, int log, const float* cosines) {
  const int points = 1 << log, threads = points / kPointsPerThread;
  std::vector<Complex> buffer(padded(log));
  std::vector<Thread> all(threads);
  for (int t = 0; t < threads; ++t)
    for (int e = 0; e < kPointsPerThread; ++e) {
      const int k = t + e * threads;
      all[t].v[e] = swapped(spectrum(u, k, log, turn(cosines, k, log)));
    }
  transform_row(all, buffer.data(), log, cosines);
  for (int t = 0; t < threads; ++t) put_back(all[t].v, buffer.data(), t, log);
  for (int m = 0; m < points / 2; ++m) {
    const Complex low = swapped(buffer[place(m)]), high = swapped(buffer[place(points - 1 - m)]);
    y[4 * m] = low.re;
    y[4 * m + 1] = high.im;
    y[4 * m + 2] = low.im;
    y[4 * m + 3] = high.re;
  }
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("there is no C++ compiler on this machine")
    folder = tmp_path_factory.mktemp("fft")
    (folder / "fft.cpp").write_text(SOURCE)
    command = [COMPILER, "-std=c++17", "-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    include = ["-I", str(ROOT / "cuda_kernels" / "spectral_linear")]
    done = subprocess.run(
        [*command, *include, "fft.cpp", "-o", "fft.so"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "fft.so"))


def transformed(entry, values, log):
    """float32 [2^(log + 1)] through an entry point of the library."""
    out, table = torch.full_like(values, math.nan), cosines(len(values)).float()
    pointers = [ctypes.c_void_p(one.data_ptr()) for one in (values, out, table)]
    entry(pointers[0], pointers[1], ctypes.c_int(log), pointers[2])
    return out.double()


def scales(n):
    """float64 [n]: what the kernel multiplies the doubled sums by."""
    scale = torch.full((n,), 0.5 * math.sqrt(2 / n), dtype=torch.float64)
    scale[0] *= math.sqrt(0.5)
    return scale


def assert_near(out, expected):
    assert torch.linalg.vector_norm(out - expected) <= 1e-6 * torch.linalg.vector_norm(expected)


@pytest.mark.parametrize("log", LOGS)
def test_transforms_are_products_with_the_basis_and_its_transpose(library, log):
    n = 2 << log
    rows, values = basis("dct", n, n), drawn(n)
    assert_near(transformed(library.analyse, values, log) * scales(n), rows @ values.double())
    spectrum = (values.double() * scales(n)).float()
    assert_near(transformed(library.synthesise, spectrum, log), values.double() @ rows)


@pytest.mark.parametrize("n", [1, 2, 7, 32])
@pytest.mark.parametrize("kind", ["dct", "dst"])
def test_a_basis_is_orthonormal(kind, n):
    rows = basis(kind, n, n)
    assert torch.allclose(rows @ rows.T, torch.eye(n, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 32])
def test_sines_are_cosines_of_alternating_signs_in_reverse(n):
    signs = (-1.0) ** torch.arange(n)
    assert torch.allclose(basis("dst", n, n), (basis("dct", n, n) * signs).flip(0), atol=1e-12)
