"""The runtime of our own kernels: logits are those of eager, and what ran is named. Without a GPU references answer."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bench.artifact import ship
from bench.records import SIMULATED_INT8, KernelCount
from bench.runtimes import RUNTIMES
from bench.runtimes.integer_products import IN_ONE_KERNEL, IntegerProduct
from bench.runtimes.kernel_session import BY_REFERENCE
from methods.layers import SpectralLinear
from methods.layers.activations import ActivationQuantizer
from methods.layers.kernel_products import SparseProduct, SpectralProduct, in_kernels
from methods.pruning import Prune
from methods.quantization import PTQ
from methods.spectral import DCT
from tests.quantization_example import CONVOLUTIONS, KINDS, LINEARS, Depthwise, Plain, Residual, images, network, task
from tests.quantization_example import train_a_little as train
from tests.test_runtimes import logits, step_of_logits

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
RUNTIME = RUNTIMES["cuda_kernels"]


def ran(model, x, device="cpu"):
    """Logits and kernels of a shipped network, which is left as it was."""
    before = logits(model, x)
    session = RUNTIME.load(model, RUNTIME.prepare(model, x.shape[1:], None), threads=1, device=device)
    found = session.run(x.numpy())
    assert np.array_equal(logits(model, x), before)
    return found, session.kernels()


def pruned(layer, kept, seed=0):
    """The layer with a share of its weights, one row and one column of them all zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        layer.weight.mul_(torch.rand_like(layer.weight) < kept)
        layer.weight[0] = 0
        layer.weight[:, -1] = 0
    return layer


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_network_multiplies_codes(kind, count, device):
    model, x = ship(PTQ().compress(network(kind), task())), images(count, seed=4)
    found, kernels = ran(model, x, device)
    assert np.abs(found - logits(model, x)).max() <= step_of_logits(model, x)
    grouped = 1 if kind is Depthwise else 0
    assert KernelCount("int8", "cuda_kernels.gemm_i8", CONVOLUTIONS[kind] + LINEARS[kind] - grouped) in kernels.counts
    assert (SIMULATED_INT8 in kernels.notes) == bool(grouped)
    assert (BY_REFERENCE in kernels.notes) == (device == "cpu")


@pytest.mark.parametrize("shape", [(3, 5), (17, 16), (1, 1), (40, 9)])
def test_a_product_of_codes_is_exact(shape):
    n, width = shape
    torch.manual_seed(n)
    made = nn.Linear(width, 11)
    codes, steps = torch.randint(-127, 128, made.weight.shape, dtype=torch.int8), torch.rand(11) + 0.01
    grid = ActivationQuantizer("frozen")
    grid.set_range(-1.3, 4.1)
    x = grid(3 * torch.randn(n, width))
    found = IntegerProduct(made, codes, steps, grid, IN_ONE_KERNEL)(x)
    exact = (
        torch.round(x.double() / grid.scale.item()) * grid.scale.item() @ (codes.double() * steps.double()[:, None]).T
    )
    assert torch.allclose(found.double(), exact + made.bias.double(), rtol=1e-5, atol=1e-5 * exact.abs().max().item())


LAYERS = {
    "linear": (lambda: nn.Linear(40, 7), (5, 40)),
    "linear of one row": (lambda: nn.Linear(40, 7, bias=False), (1, 40)),
    "linear of sequences": (lambda: nn.Linear(12, 9), (2, 3, 12)),
    "convolution": (lambda: nn.Conv2d(6, 5, 3, padding=1), (2, 6, 9, 7)),
    "strided": (lambda: nn.Conv2d(6, 5, (3, 2), stride=(2, 3), padding=(0, 2), bias=False), (3, 6, 9, 8)),
    "dilated": (lambda: nn.Conv2d(6, 5, 3, dilation=(2, 1), padding=2), (1, 6, 9, 7)),
    "one place": (lambda: nn.Conv2d(6, 5, 3), (1, 6, 3, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_pruned_layer_is_a_sparse_product(name):
    make, shape = LAYERS[name]
    layer = pruned(make(), 0.15)
    product, x = in_kernels(layer), torch.randn(shape)
    assert isinstance(product, SparseProduct)
    assert len(product.values) == layer.weight.count_nonzero()
    with torch.no_grad():
        found, expected = product(x), layer(x)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        pruned(nn.Linear(40, 7), 0.5), pruned(nn.Conv2d(6, 6, 3, groups=2), 0.1),
        pruned(nn.Conv2d(6, 6, 3, padding="same"), 0.1),
        pruned(nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular"), 0.1),
        pruned(nn.Linear(40, 7), 0.1).half(), nn.ReLU(), SpectralLinear(8, 6, 4, 3, basis_kind="dft"),
        SpectralLinear(8, 6, 4, 4, diagonal=3),
    ],
    ids=str,
)  # fmt: skip
def test_what_the_kernels_do_not_serve_stays_as_it_is(layer):
    assert in_kernels(layer) is None


@pytest.mark.parametrize("kind", ["dct", "dst"])
@pytest.mark.parametrize(("shape", "bias"), [((5, 33), True), ((2, 3, 33), False), ((33,), True)])
def test_a_spectral_layer_is_one_operation(kind, shape, bias):
    torch.manual_seed(1)
    layer = SpectralLinear.of(nn.Linear(33, 20, bias=bias), 12, 9, kind)
    product, x = in_kernels(layer), torch.randn(shape)
    assert isinstance(product, SpectralProduct)
    with torch.no_grad():
        assert torch.allclose(product(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_pruned_network_skips_its_zeros_and_says_so(device):
    model = ship(Prune(sparsity=0.9).compress(network(Residual), task(train)))
    found, kernels = ran(model, images(3), device)
    assert np.allclose(found, logits(model, images(3)), rtol=1e-4, atol=1e-5)
    sparse = sum(one.calls for one in kernels.counts if one.kernel == "cuda_kernels.spmm_csr")
    dense = sum(one.calls for one in kernels.counts if one.kernel in ("convolution", "addmm"))
    assert sparse > 0
    assert sparse + dense == CONVOLUTIONS[Residual] + LINEARS[Residual]
    eager = RUNTIMES["eager"].load(model, None, threads=1, device=device)
    eager.run(images(3).numpy())
    assert any("dense fallback: the" in note for note in eager.kernels().notes)
    assert kernels.notes != eager.kernels().notes


@pytest.mark.parametrize("device", DEVICES)
def test_a_spectral_network_runs_its_coefficients(device):
    model = ship(DCT(layers="linear").compress(network(Plain), task(train)))
    found, kernels = ran(model, images(4), device)
    assert np.allclose(found, logits(model, images(4)), rtol=1e-3, atol=1e-4)
    assert "cuda_kernels.spectral_linear" in kernels.words()
    assert (BY_REFERENCE in kernels.words()) == (device == "cpu")


def test_a_float_network_runs_as_in_eager():
    found, kernels = ran(ship(network(Plain)), images(3))
    assert kernels.words() == "fp32 convolution x3, fp32 addmm x2"
    assert np.allclose(found, logits(ship(network(Plain)), images(3)), rtol=1e-5, atol=1e-6)


def test_a_wrong_sparse_product_is_seen():
    """The law above, broken on purpose."""
    layer = pruned(nn.Linear(40, 7), 0.15)
    product, x = copy.deepcopy(in_kernels(layer)), torch.randn(5, 40)
    product.values[3] *= 1.01
    with torch.no_grad():
        assert not torch.allclose(product(x), layer(x), rtol=1e-5, atol=1e-6)


def test_without_a_compiler_a_gpu_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.runtimes.torch_session.no_such_device", lambda device: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert "nvcc is not on PATH" in RUNTIME.unavailable("cuda")
    assert RUNTIME.unavailable("cpu") is None
