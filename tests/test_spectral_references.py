"""Bases and layers against NumPy and SciPy at every size from 1 to 65, odd and prime ones among them."""

import numpy as np
import pytest
import torch
from torch import nn

from methods.layers import SpectralConv2d, SpectralLinear
from methods.layers.bases import BASES, basis
from tests import spectral_reference as reference
from tests.drawing import drawn, filled

SIZES = range(1, 66)
KINDS = [*BASES, "random:3"]
FORMS = [  # channels transformed, kept taps, diagonal, tap diagonal
    {"channels": True},
    {"channels": True, "keep_taps": (2, 1)},
    {"channels": True, "keep_taps": (2, 3), "tap_diagonal": 2, "diagonal": 3},
    {"channels": True, "diagonal": 4},
    {"channels": False, "keep_taps": (1, 2)},
    {"channels": False, "keep_taps": (3, 3), "tap_diagonal": 3},
]
GEOMETRIES = [
    {"padding": 1},
    {"stride": (2, 1), "padding": (1, 2), "bias": False},
    {"padding": "same", "dilation": (1, 2), "groups": 3},
    {"padding": "valid", "groups": 6},
    {"padding": 1, "padding_mode": "reflect", "stride": 2},
    {"padding": (2, 1), "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "replicate", "groups": 2},
]


@pytest.mark.parametrize("kind", KINDS)
def test_bases_are_those_of_the_references(kind):
    for n in SIZES:
        np.testing.assert_allclose(basis(kind, n).numpy(), reference.matrix(kind, n), atol=1e-9, err_msg=f"n={n}")


@pytest.mark.parametrize("kind", KINDS)
def test_linear_layers_are_those_of_the_reference(kind):
    for n in SIZES:
        outputs, keep_in, keep_out = (7 * n) % 19 + 1, max(1, n // 3), (7 * n) % 19 // 2 + 1
        diagonal = n % 3 and max(1, (keep_in + keep_out) // 2)
        layer = filled(SpectralLinear(n, outputs, keep_in, keep_out, basis_kind=kind, diagonal=diagonal)).eval()
        spectrum = layer.spectrum().detach().double().numpy()
        assert (spectrum[~reference.triangle(keep_out, keep_in, diagonal)] == 0).all()
        x = drawn(3, n)
        weight = reference.linear_weight(spectrum, kind, outputs, n)
        expected = x.double().numpy() @ weight.T + layer.bias.detach().double().numpy()
        np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-4, err_msg=f"n={n}")


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of tiny operations: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def routes(form: dict) -> list[str]:
    return ["factored", "materialised"] if form["channels"] else ["materialised"]


@pytest.mark.parametrize(("form", "route"), [(form, route) for form in FORMS for route in routes(form)], ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_convolutions_are_those_of_the_reference(geometry, form, route, monkeypatch):
    groups = geometry.get("groups", 1)
    keep_in, keep_out = (4 if groups == 1 else 1, 3 // groups or 1) if form["channels"] else (6 // groups, 12 // groups)
    kept = {name: value for name, value in form.items() if name != "diagonal" or groups == 1}
    layer = filled(SpectralConv2d(6, 12, 3, keep_in, keep_out, basis_kind="dst", **geometry, **kept)).eval()
    monkeypatch.setattr(SpectralConv2d, "path", lambda self, shape: route)
    spectrum = layer.spectrum().detach().double().numpy()
    sides = (12 // groups, 6 // groups, 3, 3)
    parts = np.split(spectrum, groups)
    weight = np.concatenate(
        [reference.convolution_weight(one, "dst", sides, layer.channels, bool(layer.keep_taps)) for one in parts]
    )
    x = drawn(2, 6, 7, 9)
    bias = None if layer.bias is None else layer.bias.detach().double().numpy()
    expected = reference.convolve(x.double().numpy(), weight, bias, layer, layer._margins())
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(("form", "route"), [(form, route) for form in FORMS for route in routes(form)], ids=str)
def test_gradients_of_convolutions_are_right(form, route, monkeypatch):
    keep_in, keep_out = (1, 2) if form["channels"] else (2, 2)
    layer = SpectralConv2d(4, 4, 3, keep_in, keep_out, padding=1, groups=2, **form)
    monkeypatch.setattr(SpectralConv2d, "path", lambda self, shape: route)
    layer = filled(layer).double()
    inputs = (drawn(1, 4, 3, 3).double().requires_grad_(), *layer.parameters())
    assert torch.autograd.gradcheck(_called(layer), inputs)


@pytest.mark.parametrize("diagonal", [0, 3])
@pytest.mark.parametrize("route", ["factored", "materialised"])
def test_gradients_of_linear_layers_are_right(route, diagonal, monkeypatch):
    layer = filled(SpectralLinear(8, 6, 4, 3, diagonal=diagonal)).double()
    monkeypatch.setattr(SpectralLinear, "path", lambda self, shape=(): route)
    assert torch.autograd.gradcheck(_called(layer), (drawn(3, 8).double().requires_grad_(), *layer.parameters()))


def _called(layer: nn.Module):
    names = [name for name, _ in layer.named_parameters()]

    def call(x, *tensors):
        return torch.func.functional_call(layer, dict(zip(names, tensors, strict=True)), (x,))

    return call
