"""What spectral layers keep from one call to the next: dense weights and packed kernels, never stale."""

import copy
import pickle

import pytest
import torch
from torch import nn

from methods.layers import FrequencyLinear, Mask, SpectralConv2d, SpectralLinear, build, config_of, constrain, products
from tests.drawing import drawn, filled
from tests.spectral_example import CONVOLUTIONS, convolution, spectral, take, trained

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch pads a copy


@pytest.mark.parametrize("config", CONVOLUTIONS)
def test_a_packed_kernel_serves_every_size_and_follows_its_coefficients(config, monkeypatch):
    new = spectral(convolution(config), 0.5)
    take(new, "factored", monkeypatch)
    for count, height, width in ((1, 11, 8), (5, 7, 7), (0, 7, 9), (3, 30, 6)):
        x = drawn(count, config["in_channels"], height, width)
        with torch.no_grad():
            found = new(x)
        torch.testing.assert_close(found, new(x), atol=2e-5, rtol=1e-5)  # with gradients nothing is packed
    other = nn.Parameter(drawn(*new.coefficients.shape, seed=1))
    for change in (lambda: new.coefficients.mul_(2), lambda: setattr(new, "coefficients", other)):
        with torch.no_grad():
            change()
            found = new(x)
        torch.testing.assert_close(found, new(x), atol=2e-5, rtol=1e-5)
    for copied in (copy.deepcopy(new), pickle.loads(pickle.dumps(new))):
        torch.testing.assert_close(copied(x), new(x))


def test_a_call_that_fails_leaves_nothing_stale_behind(monkeypatch):
    new = spectral(convolution({"in_channels": 8, "out_channels": 8, "kernel_size": 5}), 0.5)
    take(new, "factored", monkeypatch)
    x = drawn(1, 8, 12, 12)
    with torch.no_grad():
        new(x)
        new.coefficients.mul_(2)
        with pytest.raises(RuntimeError, match="Kernel size"):  # torch's own words
            new(drawn(1, 8, 3, 3))
        monkeypatch.setattr(products, "pack", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            new(x)
        monkeypatch.undo()
        take(new, "factored", monkeypatch)
        torch.testing.assert_close(new(x), new._convolve(x, new.weight(), new.bias), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("route", ["factored", "materialised"])
@pytest.mark.parametrize("kind", [SpectralConv2d, SpectralLinear, FrequencyLinear])
def test_an_optimiser_that_leaves_no_trace_in_the_version_leaves_nothing_stale(kind, route, monkeypatch):
    sizes = {SpectralConv2d: (8, 8, 3, 4, 4), SpectralLinear: (8, 8, 4, 4), FrequencyLinear: (8, 8)}
    layer = filled(kind(*sizes[kind]))
    if kind is not FrequencyLinear:
        take(layer, route, monkeypatch)
    x = drawn(2, 8, 6, 6) if kind is SpectralConv2d else drawn(2, 8)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        layer.eval()(x)
    layer.train()(x).square().mean().backward()
    optimiser.step()
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), copy.deepcopy(layer)(x))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # by torch's forward mode
@pytest.mark.parametrize("route", ["factored", "materialised"])
def test_functional_and_forward_mode_derivatives_pass_through(route, monkeypatch):
    for layer, x in ((SpectralConv2d(8, 6, 3, 4, 4), drawn(2, 8, 6, 6)), (SpectralLinear(8, 6, 4, 4), drawn(2, 8))):
        take(filled(layer).eval().requires_grad_(False), route, monkeypatch)
        x = x.requires_grad_()
        y = layer(x)
        found = torch.func.jvp(layer, (x.detach(),), (torch.ones_like(x),))[1]
        (expected,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(found.sum(), expected.sum(), atol=1e-3, rtol=1e-4)
        state = dict(layer.named_parameters())

        def loss(state, layer=layer, x=x):
            return torch.func.functional_call(layer, state, (x,)).square().sum()

        slopes = torch.func.grad(loss)(state)
        layer.requires_grad_()
        loss(dict(layer.named_parameters())).backward()
        torch.testing.assert_close(slopes["coefficients"], layer.coefficients.grad, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("route", ["factored", "materialised"])
@pytest.mark.parametrize("diagonal", [0, 9])
def test_what_is_kept_in_inference_mode_serves_autograd_later(route, diagonal, monkeypatch):
    for kind, x in ((SpectralLinear(20, 18, 9, 8, diagonal=diagonal), drawn(3, 20)),
                    (SpectralConv2d(20, 18, 3, 9, 8, diagonal=diagonal), drawn(3, 20, 5, 5))):  # fmt: skip
        layer = filled(kind).eval().requires_grad_(False)
        take(layer, route, monkeypatch)
        with torch.inference_mode():
            expected = layer(x).clone()
        x.requires_grad_()
        y = layer(x)
        y.sum().backward()
        torch.testing.assert_close(y.detach(), expected.clone(), atol=1e-5, rtol=1e-5)
        assert x.grad.abs().sum() > 0


def test_a_kernel_is_packed_at_rest_alone(monkeypatch):
    new = spectral(convolution({"in_channels": 8, "out_channels": 8, "kernel_size": 3}), 0.5)
    take(new, "factored", monkeypatch)
    x = drawn(2, 8, 9, 9)
    new(x)
    new.train()
    with torch.no_grad():
        new(x)
        new.eval().double()(x.double())
        assert new._packed._kept is None
        new.float()(x)
    assert new._packed._kept is not None


def changed_in_place(layer):
    with torch.no_grad():
        layer.coefficients.mul_(2)


def loaded(layer):
    layer.load_state_dict({name: 2 * tensor for name, tensor in layer.state_dict().items()})


def reassigned(layer):
    layer.coefficients = nn.Parameter(2 * layer.coefficients.detach())


def masked(layer):
    constrain(layer, "coefficients", Mask.of(drawn(*layer.coefficients.shape) > 0))


def retyped(layer):
    layer.double().float()
    changed_in_place(layer)


@pytest.mark.parametrize("change", [changed_in_place, loaded, reassigned, masked, retyped, trained])
def test_a_kept_weight_is_never_stale(change, monkeypatch):
    take(new := spectral(convolution(CONVOLUTIONS[0]), 0.5), "materialised", monkeypatch)
    x = drawn(2, 6, 6, 6)
    with torch.no_grad():
        before = new(x)
        assert new.weight() is new.weight()  # kept from one call to the next
        change(new)
        fresh = build("SpectralConv2d", config_of(new)).eval()
        fresh.coefficients, fresh.bias = nn.Parameter(new.coefficients.detach().clone()), new.bias
        assert torch.equal(new(x), fresh(x))
        assert not torch.equal(new(x), before)


def test_a_copy_does_not_share_the_kept_weight():
    new = spectral(convolution(CONVOLUTIONS[0]), 0.5)
    with torch.no_grad():
        held = new.weight()
        other = copy.deepcopy(new)
        changed_in_place(other)
        assert torch.equal(new.weight(), held)
        assert not torch.equal(other.weight(), held)


def test_what_autograd_must_see_is_not_kept():
    new = spectral(convolution(CONVOLUTIONS[0]), 0.5)
    with torch.no_grad():
        new.weight()
    assert new.weight().requires_grad
    assert new.train().weight() is not new.weight()
    with torch.inference_mode():
        inside = spectral(convolution(CONVOLUTIONS[0]), 0.5)
        assert torch.equal(inside.weight(), inside.weight())
