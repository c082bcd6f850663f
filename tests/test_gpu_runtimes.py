"""Runtimes made for GPUs: integer products agree with the simulation, 16 bits are called what they are."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.artifact import ship
from bench.records import SIMULATED_INT8, KernelCount
from bench.runtimes import RUNTIMES
from bench.runtimes.integer_products import IntegerProduct, with_integer_products
from methods.graph import trace
from methods.layers.activations import ActivationQuantizer
from methods.pruning import Prune
from methods.quantization import PTQ
from tests.quantization_example import CONVOLUTIONS, KINDS, LINEARS, Depthwise, Plain, Residual, images, network, task
from tests.quantization_example import train_a_little as train
from tests.test_runtimes import extreme, logits, step_of_logits

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def load(name, model, device="cpu"):
    return RUNTIMES[name].load(model, None, threads=1, device=device)


def kernels_of(name, model):
    session = load(name, model)
    session.run(images(2).numpy())
    return session.kernels()


def quantized(kind):
    return ship(PTQ().compress(network(kind), task()))


# Integer products


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_integer_products_give_the_simulated_logits(kind, count, device):
    model, x = quantized(kind), images(count, seed=4)
    before = logits(model, x)
    found = load("int8_gemm", model, device).run(x.numpy())
    assert np.abs(found - before).max() <= step_of_logits(model, x)
    assert np.array_equal(logits(model, x), before)  # the network itself is left as it was


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_an_integer_product_is_named(kind):
    kernels = kernels_of("int8_gemm", quantized(kind))
    grouped = 1 if kind is Depthwise else 0
    assert KernelCount("int8", "_int_mm", CONVOLUTIONS[kind] + LINEARS[kind] - grouped) in kernels.counts
    assert (KernelCount("fp32", "convolution", 1) in kernels.counts) == bool(grouped)
    assert (SIMULATED_INT8 in kernels.notes) == bool(grouped)


@pytest.mark.parametrize("shape", [(3, 5), (17, 8), (1, 1), (40, 9)])
@pytest.mark.parametrize("layer", ["linear", "convolution", "strided"])
def test_a_product_of_codes_is_exact(layer, shape):
    """Against float64 arithmetic on the same grid, at sizes that are no multiples of 8."""
    n, width = shape
    torch.manual_seed(n)
    made = {
        "linear": lambda: nn.Linear(width, 11),
        "convolution": lambda: nn.Conv2d(width, 5, (3, 2), padding=(1, 0)),
        "strided": lambda: nn.Conv2d(width, 5, 3, stride=(2, 3), padding=2, bias=False),
    }[layer]()
    codes = torch.randint(-127, 128, made.weight.shape, dtype=torch.int8)
    steps = torch.rand(len(codes)) + 0.01
    grid = ActivationQuantizer("frozen")
    grid.set_range(-1.3, 4.1)
    x = grid(3 * torch.randn(n, width) if layer == "linear" else 3 * torch.randn(n, width, 6, 7))
    found = IntegerProduct(made, codes, steps, grid)(x)
    with torch.no_grad():
        exact = made.double()
        exact.weight.copy_(codes.double() * steps.double().reshape(-1, *(1,) * (codes.ndim - 1)))
        expected = exact(torch.round(x.double() / grid.scale.item()) * grid.scale.item())
    assert found.shape == expected.shape
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_the_largest_codes_do_not_saturate():
    x = images(16).abs() + 1
    model = ship(PTQ().compress(trace(extreme()), type(task())(None, lambda count: iter([x]))))
    assert np.abs(load("int8_gemm", model).run(x.numpy()) - logits(model, x)).max() <= step_of_logits(model, x)


def test_padding_before_a_layer_keeps_values_on_the_grid():
    """Also where 0.0 is not code 0."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.ZeroPad2d(2), nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3 * 11 * 9, 4)).eval()
    model = ship(PTQ().compress(trace(model), task()))
    session, x = load("int8_gemm", model), images(5)
    assert np.abs(session.run(x.numpy()) - logits(model, x)).max() <= step_of_logits(model, x)
    assert session.kernels().counts == (KernelCount("int8", "_int_mm", 2),)


def test_a_wrong_grid_is_seen():
    """The law above, broken on purpose."""
    model, x = quantized(Residual), images(5)
    lowered, _ = with_integer_products(model)
    product = next(one for one in lowered.modules() if isinstance(one, IntegerProduct))
    product.zero_point += 8
    with torch.no_grad():
        assert np.abs(lowered(x).numpy() - logits(model, x)).max() > step_of_logits(model, x)


def test_a_float_network_runs_in_float_and_says_so():
    """The dense row, which is timed beside every other."""
    model, x = ship(network(Plain)), images(3)
    session = load("int8_gemm", model)
    assert np.allclose(session.run(x.numpy()), logits(model, x), rtol=1e-5, atol=1e-6)
    assert session.kernels().words() == "fp32 convolution x3, fp32 addmm x2"  # one is called twice


def test_pruned_codes_are_said_to_be_multiplied():
    pruned = Prune(sparsity=0.8).compress(network(Residual), task(train))
    words = kernels_of("int8_gemm", ship(PTQ().compress(pruned, task()))).words()
    assert "dense fallback: the 8" in words


# 16 bits


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "error"), [("fp16", 0.01), ("bf16", 0.08)])
@pytest.mark.parametrize("kind", KINDS)
def test_16_bits_are_close_and_called_what_they_are(kind, name, error, device):
    model, x = ship(network(kind)), images(8)
    before = logits(model, x)
    session = load(name, model, device)
    found = session.run(x.numpy())
    assert found.dtype == np.float32
    assert 0 < np.abs(found - before).max() < error * np.abs(before).max()
    assert {one.precision for one in session.kernels().counts} == {name}
    assert np.array_equal(logits(model, x), before)


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_a_quantised_network_runs_in_16_bits_too(name):
    model, x = quantized(Residual), images(8)
    found = load(name, model).run(x.numpy())
    assert np.abs(found - logits(model, x)).max() < 0.2 * np.abs(logits(model, x)).max()


# CUDA graphs


@pytest.mark.gpu
def test_what_is_recorded_gives_eagers_logits_for_each_shape_in_turn():
    model = ship(network(Residual))
    session = load("cudagraphs", model, "cuda")
    for count in (1, 4, 1, 4):
        x = images(count, seed=count)
        assert np.allclose(session.run(x.numpy()), logits(model, x), rtol=1e-3, atol=1e-4)
    assert "(recorded)" in session.kernels()


def test_without_a_gpu_there_is_nothing_to_record_on():
    assert RUNTIMES["cudagraphs"].unavailable("cpu") == "it runs on a GPU only, not on cpu"
    if not torch.cuda.is_available():
        for name in ("cudagraphs", "fp16", "bf16", "int8_gemm"):
            assert "no device" in RUNTIMES[name].unavailable("cuda")
