"""Laws of fitting spectral layers to the dense network's outputs."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from methods.allocation import box_for
from methods.graph import replace_module, trace
from methods.layers import SpectralConv2d, SpectralLinear
from methods.reconstruction import fit, reconstruct
from methods.spectral import project, sides_of
from tests.drawing import drawn

LAYERS = [
    (nn.Linear, {"in_features": 12, "out_features": 9}, (40, 12)),
    (nn.Linear, {"in_features": 12, "out_features": 9, "bias": False}, (20, 3, 12)),
    (nn.Conv2d, {"in_channels": 6, "out_channels": 8, "kernel_size": 3, "padding": 1}, (35, 6, 7, 5)),
    (nn.Conv2d, {"in_channels": 6, "out_channels": 8, "kernel_size": (2, 3), "stride": (2, 1), "bias": False},
     (35, 6, 7, 5)),
    (nn.Conv2d, {"in_channels": 6, "out_channels": 9, "kernel_size": 3, "padding": "same", "dilation": (1, 2),
                 "groups": 3, "padding_mode": "reflect"}, (35, 6, 7, 9)),
]  # fmt: skip


def projected(layer, keep):
    return project(layer, box_for(sides_of(layer), keep, "channels", False), "dct", "channels")


def pair(kind, config, keep=0.4):
    layer = kind(**config)
    with torch.no_grad():
        for index, tensor in enumerate(layer.parameters()):
            tensor.copy_(drawn(*tensor.shape, seed=index))
    return layer.eval(), projected(layer, keep).eval()


def inputs(shape) -> torch.Tensor:
    """Inputs with means and correlations, which is what a fit can use and a truncation cannot."""
    x = drawn(*shape, seed=5)
    return 0.5 * x + x.cumsum(1) * 0.3 + 1.0


def error(layer, x, y) -> float:
    return float((layer(x) - y).square().mean())


def put_fitted(network, layers, images):
    reconstruct(network, layers, images, fit)
    for path, layer in layers.items():
        replace_module(network, path, layer)


@pytest.mark.parametrize(("kind", "config", "shape"), LAYERS)
def test_a_fit_is_nearer_than_the_projection(kind, config, shape):
    layer, new = pair(kind, config)
    x = inputs(shape)
    with torch.no_grad():
        y = layer(x)
        before = error(new, x, y)
        fit(new, x, y)
        assert error(new, x, y) < before


@pytest.mark.parametrize(("kind", "config", "shape"), LAYERS)
def test_no_small_step_from_a_fit_comes_nearer(kind, config, shape, monkeypatch):
    monkeypatch.setattr("methods.reconstruction._RIDGE", 1e-9)
    layer, new = pair(kind, config)
    x = inputs(shape)
    with torch.no_grad():
        y = layer(x)
        fit(new, x, y)
    with torch.enable_grad():
        error_now = (new(x) - y).square().mean()
        slopes = torch.autograd.grad(error_now, list(new.parameters()))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-3


def test_a_linear_fit_is_numpys_least_squares(monkeypatch):
    monkeypatch.setattr("methods.reconstruction._RIDGE", 1e-12)
    layer, new = pair(*LAYERS[0][:2])
    x = inputs((200, 12))
    with torch.no_grad():
        y = layer(x)
        fit(new, x, y)
    regressors = np.column_stack([(x @ new.in_basis.T).numpy(), np.ones(200)]).astype(np.float64)
    targets = (y @ new.out_basis.T).numpy().astype(np.float64)
    expected = np.linalg.lstsq(regressors, targets, rcond=None)[0][:-1].T
    np.testing.assert_allclose(new.coefficients.detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(("kind", "config", "shape"), LAYERS)
def test_where_nothing_is_left_out_the_fit_changes_nothing(kind, config, shape):
    layer, new = pair(kind, config, keep=1.0)
    x = inputs(shape)
    with torch.no_grad():
        before = new.coefficients.clone()
        fit(new, x, layer(x))
    torch.testing.assert_close(new.coefficients, before, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_images_that_show_nothing_keep_the_projection(value):
    layer, new = pair(*LAYERS[0][:2])
    x = torch.full((30, 12), value)
    with torch.no_grad():
        before = new.coefficients.clone()
        fit(new, x, layer(x))
    torch.testing.assert_close(new.coefficients, before, atol=1e-4, rtol=1e-4)
    assert new.bias.isfinite().all()


def test_fewer_images_than_coefficients_stay_finite_and_no_worse():
    layer, new = pair(nn.Linear, {"in_features": 60, "out_features": 50})
    x = inputs((3, 60))
    with torch.no_grad():
        y = layer(x)
        before = error(new, x, y)
        fit(new, x, y)
        assert new.coefficients.isfinite().all()
        assert error(new, x, y) <= before


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.first(x).relu()
        x = (x + self.second(x)).relu()
        x = (x + self.second(x)).relu()  # called twice on purpose
        return self.head(x.mean((2, 3)))


@pytest.fixture
def network():
    model = Net()
    with torch.no_grad():
        for index, tensor in enumerate(model.parameters()):
            tensor.copy_(drawn(*tensor.shape, seed=index) / tensor[0].numel() ** 0.5)
    return trace(model)


def spectral(model, keep=0.3):
    return {path: projected(model.get_submodule(path), keep) for path in ("first", "second", "head")}


def test_a_fitted_network_is_nearer_to_the_dense_one_also_on_other_images(network):
    x, others = inputs((32, 3, 8, 7)), inputs((64, 3, 8, 7)).flip(0)[:32]
    with torch.no_grad():
        expected = network(others)
        plain, fitted = copy.deepcopy(network), copy.deepcopy(network)
        for path, layer in spectral(network).items():
            setattr(plain, path, layer.eval())
        put_fitted(fitted, spectral(network), x)
        assert error(fitted, others, expected) < 0.5 * error(plain, others, expected)


def test_fitting_alone_leaves_the_network_as_it_was(network):
    before = {name: id(layer) for name, layer in network.named_modules()}
    reconstruct(network, spectral(network), inputs((8, 3, 8, 7)), fit)
    assert {name: id(layer) for name, layer in network.named_modules()} == before


def test_fitting_leaves_plain_layers_in_eval_mode_and_no_trace_of_itself(network):
    layers = spectral(network)
    put_fitted(network, layers, inputs((8, 3, 8, 7)))
    kinds = {type(layer) for layer in network.modules()} - {type(network)}
    assert kinds == {SpectralConv2d, SpectralLinear}
    assert all(network.get_submodule(path) is layer for path, layer in layers.items())
    assert not any(layer.training for layer in network.modules())
    assert all(tensor.requires_grad and tensor.grad is None for tensor in network.parameters())


def test_later_layers_are_fitted_to_what_earlier_ones_give(network):
    """The second layer's fit makes up for the first's error: fitted on the dense input instead, it would be worse."""
    x = inputs((32, 3, 8, 7))
    chained = copy.deepcopy(network)
    put_fitted(chained, spectral(network), x)
    apart = copy.deepcopy(network)
    for path, layer in spectral(network).items():
        alone = copy.deepcopy(network)
        put_fitted(alone, {path: layer}, x)
        setattr(apart, path, layer)
    with torch.no_grad():
        assert error(chained, x, network(x)) < error(apart, x, network(x))
