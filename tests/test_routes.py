"""A row names the way that each spectral layer computes in, for the batches that ran."""

import numpy as np
import torch
from torch import nn

from bench.runtimes import RUNTIMES
from bench.runtimes.routes import routes_taken
from methods.graph import trace
from methods.layers import FrequencyLinear, SpectralConv2d, SpectralLinear
from tests.drawing import filled

CPU = torch.device("cpu")


def network() -> nn.Module:
    return trace(
        filled(
            nn.Sequential(
                SpectralConv2d(64, 64, 3, 8, 8, padding=1),
                nn.ReLU(),
                SpectralConv2d(64, 2, 1, 60, 2),
                nn.Flatten(),
                SpectralLinear(128, 90, 3, 3),
            )
        )
    ).eval()


def test_the_row_names_what_was_taken_for_the_batches_that_ran():
    model = network()
    session = RUNTIMES["eager"].load(model, None, threads=1, device="cpu")
    for batch in (1, 5):
        session.run(np.zeros((batch, 64, 8, 8), dtype=np.float32))
    expected = [
        model.get_submodule("0").path((1, 64, 8, 8)),
        model.get_submodule("2").path((1, 64, 8, 8)),
        model.get_submodule("4").path((1, 128)),
    ]
    assert expected == ["factored", "materialised", "materialised"]
    assert session.kernels().notes == ("1 factored, 2 materialised",)


def test_a_factored_layer_is_seen_as_the_products_that_it_is():
    session = RUNTIMES["eager"].load(network(), None, threads=1, device="cpu")
    session.run(np.zeros((1, 64, 8, 8), dtype=np.float32))
    assert sum(one.calls for one in session.kernels().counts) == 3 + 1 + 1
    assert {one.precision for one in session.kernels().counts} == {"fp32"}


def test_layers_of_waves_are_counted_though_they_store_no_weight():
    for layers, calls in (((nn.Linear(12, 10), FrequencyLinear(10, 4)), 2), ((FrequencyLinear(12, 4),), 1)):
        model = trace(nn.Sequential(nn.Flatten(), *layers))
        session = RUNTIMES["eager"].load(model, None, threads=1, device="cpu")
        session.run(np.zeros((1, 3, 2, 2), np.float32))
        assert session.kernels().words() == f"fp32 addmm x{calls}"


def test_fast_transforms_are_seen(monkeypatch):
    monkeypatch.setattr(SpectralLinear, "path", lambda self, shape=(1,): "fast")
    model = trace(filled(nn.Sequential(nn.Flatten(), SpectralLinear(16, 12, 3, 3)))).eval()
    session = RUNTIMES["eager"].load(model, None, threads=1, device="cpu")
    session.run(np.zeros((1, 4, 2, 2), np.float32))
    assert {one.kernel for one in session.kernels().counts} >= {"_fft_r2c", "_fft_c2r"}


def test_a_triangle_is_laid_out_once_where_it_is_exported_and_not_at_every_call(tmp_path):
    """What a runtime cannot fold it computes again for each image."""
    convolution = SpectralConv2d(16, 16, 3, 8, 8, padding=1, diagonal=9, keep_taps=(2, 2), tap_diagonal=2)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), SpectralLinear(16, 10, 6, 6, diagonal=7)]
    model = trace(filled(nn.Sequential(convolution, nn.ReLU(), *head))).eval()
    runtime = RUNTIMES["onnxruntime"]
    session = runtime.load(model, runtime.prepare(model, (16, 9, 9), tmp_path), threads=1, device="cpu")
    images = np.random.default_rng(0).standard_normal((2, 16, 9, 9)).astype(np.float32)
    np.testing.assert_allclose(session.run(images), model(torch.from_numpy(images)).detach(), atol=1e-4)
    assert not any("MatMul" in one.kernel for one in session.kernels().counts)


def test_batches_that_take_different_ways_are_told_apart(monkeypatch):
    monkeypatch.setattr(SpectralLinear, "path", lambda self, shape=(1,): "fast" if shape[0] > 9 else "factored")
    model = trace(nn.Sequential(nn.Flatten(), SpectralLinear(12, 10, 3, 3)))
    assert routes_taken(model, (3, 2, 2), (1, 32, 1), CPU) == "batch 1: 1 factored; batch 32: 1 fast"


def test_nothing_is_said_where_nothing_is_chosen_and_no_hook_is_left():
    model = network()
    assert routes_taken(nn.Conv2d(3, 4, 3), (3, 5, 5), (1, 2), CPU) == ""
    routes_taken(model, (64, 8, 8), (1,), CPU)
    assert not any(layer._forward_pre_hooks for layer in model.modules())
