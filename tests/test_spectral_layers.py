"""Laws of spectral layers."""

import copy

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn

from methods.layers import FrequencyLinear, Mask, SpectralConv2d, SpectralLinear, build, config_of, constrain, weights
from tests.drawing import drawn, filled
from tests.spectral_example import CONVOLUTIONS, LINEARS, convolution, spectral, take, trained

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch pads a copy


@pytest.mark.parametrize("config", CONVOLUTIONS)
def test_coefficients_are_the_corner_of_scipys_transform_group_by_group(config):
    layer = convolution(config)
    new = spectral(layer, 0.4)
    groups, weight = layer.groups, layer.weight.detach().numpy()
    for group, part in enumerate(np.split(weight, groups)):
        spectrum = scipy.fft.dctn(part, type=2, norm="ortho", axes=(0, 1))
        keep_out, keep_in = new.config()["keep_out"], new.config()["keep_in"]
        stored = new.coefficients[group * keep_out : (group + 1) * keep_out].detach().numpy()
        np.testing.assert_allclose(stored, spectrum[:keep_out, :keep_in], atol=1e-5)


@pytest.mark.parametrize("keep", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("config", CONVOLUTIONS)
def test_both_routes_of_a_convolution_equal_the_dense_one_of_its_weight(config, keep, monkeypatch):
    layer = convolution(config)
    new = spectral(layer, keep)
    x = drawn(3, config["in_channels"], 11, 8)
    with torch.no_grad():
        layer.weight.copy_(new.weight())
    expected = layer(x)
    for route in ("factored", "materialised"):
        take(new, route, monkeypatch)
        torch.testing.assert_close(new(x), expected, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(new(x[0]), expected[0], atol=2e-5, rtol=1e-5)  # without a batch axis


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_gives_the_layout_that_it_takes(layout, stride, monkeypatch):
    layer = filled(SpectralConv2d(128, 128, 3, 64, 48, stride, padding=1)).eval()
    x = drawn(3, 128, 12, 13).to(memory_format=layout)
    take(layer, "factored", monkeypatch)
    with torch.no_grad():
        found = layer(x)
        take(layer, "materialised", monkeypatch)
        torch.testing.assert_close(found, layer(x), atol=2e-4, rtol=1e-4)
    assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    "layer", [SpectralLinear(20, 18, 9, 8), SpectralConv2d(20, 18, 3, 9, 8), FrequencyLinear(20, 4)]
)
def test_layers_compile_for_any_batch_in_one_graph(layer):
    compiled = torch.compile(filled(layer), backend="aot_eager", fullgraph=True, dynamic=True)
    rest = (7, 6) if isinstance(layer, SpectralConv2d) else ()
    for count in (2, 5):
        x = drawn(count, 20, *rest)
        torch.testing.assert_close(compiled(x), layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("keep", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("config", LINEARS)
def test_both_routes_of_a_linear_layer_equal_the_dense_one_of_its_weight(config, keep, monkeypatch):
    layer = filled(nn.Linear(**config))
    new = spectral(layer, keep)
    with torch.no_grad():
        layer.weight.copy_(new.weight())
    for shape in [(config["in_features"],), (0, config["in_features"]), (2, 3, config["in_features"])]:
        for route in ("factored", "materialised"):
            take(new, route, monkeypatch)
            torch.testing.assert_close(new(drawn(*shape)), layer(drawn(*shape)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layer", [*map(convolution, CONVOLUTIONS), *(filled(nn.Linear(**one)) for one in LINEARS)])
def test_keeping_all_gives_the_weight_back(layer):
    torch.testing.assert_close(spectral(layer, 1.0).weight(), layer.weight, atol=1e-6, rtol=1e-5)


def test_projection_is_the_nearest_of_its_shape():
    layer = convolution(CONVOLUTIONS[0])
    new = spectral(layer, 0.3)
    with torch.enable_grad():
        loss = (new.weight() - layer.weight.detach()).square().sum()
        (slope,) = torch.autograd.grad(loss, new.coefficients)
    assert slope.abs().max() < 1e-4  # the minimum of a convex function


def test_projecting_twice_is_projecting_once():
    layer = convolution(CONVOLUTIONS[2])
    once = spectral(layer, 0.3)
    with torch.no_grad():
        layer.weight.copy_(once.weight())
    torch.testing.assert_close(spectral(layer, 0.3).coefficients, once.coefficients, atol=1e-6, rtol=1e-5)


def test_only_coefficients_and_bias_are_stored():
    assert set(spectral(convolution(CONVOLUTIONS[0]), 0.3).state_dict()) == {"coefficients", "bias"}
    assert set(spectral(convolution(CONVOLUTIONS[1]), 0.3).state_dict()) == {"coefficients"}


@pytest.mark.parametrize("layer", [*map(convolution, CONVOLUTIONS), *(filled(nn.Linear(**one)) for one in LINEARS)])
def test_configuration_and_state_make_the_layer_again(layer):
    new = spectral(layer, 0.3)
    again = build(type(new).__name__, config_of(new))
    again.load_state_dict(new.state_dict())
    x = drawn(2, layer.in_channels, 9, 7) if isinstance(layer, nn.Conv2d) else drawn(2, layer.in_features)
    assert torch.equal(again.eval()(x), new(x))


def test_making_a_layer_draws_no_random_number():
    state = torch.get_rng_state()
    SpectralConv2d(4, 6, 3, 2, 2)
    SpectralLinear(4, 6, 2, 2)
    assert torch.equal(torch.get_rng_state(), state)


def counted(layer: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates that torch itself counts in one call, the dense weight formed beforehand."""
    from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

    def of_packed(x_shape, packed_shape, *_, out_shape, **__):
        return conv_flop_count(x_shape, packed_shape, out_shape)

    with torch.no_grad():
        layer(x)
        packed = {torch.ops.mkldnn._convolution_pointwise: of_packed}
        with FlopCounterMode(display=False, custom_mapping=packed) as counter:
            y = layer(x)
    assert layer.macs(tuple(x.shape), tuple(y.shape)) * 2 == counter.get_total_flops()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("keep", [0.04, 0.2, 0.9])
@pytest.mark.parametrize("config", [one for one in CONVOLUTIONS if one.get("padding_mode") is None])
def test_macs_are_those_torch_counts_on_each_route(config, keep, monkeypatch):
    new = spectral(convolution(config), keep)
    x = drawn(2, config["in_channels"], 12, 9)
    costs = new.path_macs(tuple(x.shape))
    counted(new, x)
    for route, macs in costs.items():
        take(new, route, monkeypatch)
        assert counted(new, x) == 2 * macs


def test_both_routes_occur():
    wide, narrow = spectral(filled(nn.Conv2d(64, 64, 3, padding=1)), 0.1), spectral(filled(nn.Conv2d(2, 3, 1)), 0.9)
    for batch in (1, 100):
        assert wide.path((batch, 64, 8, 8)) == "factored"
        assert narrow.path((batch, 2, 8, 8)) == "materialised"
    linear = spectral(filled(nn.Linear(256, 256)), 0.02)
    assert linear.path((5, 256)) == "factored"
    counted(linear, drawn(5, 256))
    counted(spectral(filled(nn.Linear(3, 4)), 0.9), drawn(5, 3))


@pytest.mark.parametrize("kind", ["dct", "dst", "dft", "haar", "hadamard"])
def test_a_wide_linear_layer_is_fast_and_holds_neither_basis_nor_weight(kind, monkeypatch):
    layer = SpectralLinear(4096, 2048, 500, 700, basis_kind=kind).eval()
    assert {layer.path((batch, 4096)) for batch in (1, 7, 256)} == {"fast"}
    filled(layer)
    x = drawn(5, 4096)
    with torch.no_grad():
        found = layer(x)
        assert [name for name, _ in layer.named_buffers()] == []
        assert layer._materialised._kept is None
        for route in ("factored", "materialised"):
            take(layer, route, monkeypatch)
            torch.testing.assert_close(layer(x), found, atol=2e-4, rtol=1e-4)


def test_what_pays_for_many_inputs_may_not_for_one():
    half, eighth = SpectralLinear(512, 512, 256, 256).eval(), SpectralLinear(512, 512, 64, 64).eval()
    assert [half.path((batch, 512)) for batch in (1, 256)] == ["materialised", "fast"]
    assert [eighth.path((batch, 512)) for batch in (1, 256)] == ["factored", "factored"]
    narrow = SpectralLinear(64, 64, 16, 16).eval()
    assert [narrow.path((batch, 64)) for batch in (1, 4096)] == ["materialised", "factored"]
    assert SpectralLinear(4096, 4096, 1024, 1024, basis_kind="db2").path((256, 4096)) == "factored"
    small = SpectralConv2d(64, 64, 3, 32, 32, padding=1).eval()
    assert [small.path((batch, 64, 4, 4)) for batch in (1, 32)] == ["materialised", "factored"]


def test_a_weight_that_must_be_made_anew_is_dearer():
    layer = SpectralLinear(64, 64, 16, 16)
    assert (layer.eval().path((1, 64)), layer.train().path((1, 64))) == ("materialised", "factored")


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_through_a_fast_layer_of_many_inputs_are_those_of_the_products(bias):
    layer = filled(SpectralLinear(2048, 1536, 256, 300, bias=bias))
    x = drawn(2, 150, 2048).requires_grad_()  # more than one block
    assert layer.path(tuple(x.shape)) == "fast"
    with torch.enable_grad():
        y = layer(x)
        expected = torch.nn.functional.linear(x, layer.out_basis.T @ layer.coefficients @ layer.in_basis, layer.bias)
        torch.testing.assert_close(y, expected, atol=2e-4, rtol=1e-4)
        slope = drawn(*y.shape)
        found = torch.autograd.grad(y, [x, *layer.parameters()], slope)
        wanted = torch.autograd.grad(expected, [x, *layer.parameters()], slope)
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()


def test_gradients_agree_between_routes_of_a_linear_layer(monkeypatch):
    layer = filled(SpectralLinear(96, 64, 20, 30))
    x = drawn(4, 96).requires_grad_()
    slopes = []
    with torch.enable_grad():
        for route in ("factored", "materialised", "fast"):
            take(layer, route, monkeypatch)
            slopes.append(torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()]))
    for other in slopes[1:]:
        for one, two in zip(slopes[0], other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-4)


def test_a_fast_layer_in_bf16_is_that_in_fp32_to_bf16s_rounding():
    layer = filled(SpectralLinear(2048, 2048, 512, 512)).eval()
    x = drawn(3, 2048)
    half = copy.deepcopy(layer).bfloat16()
    assert half.path((3, 2048)) == "fast"
    y = half(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert (y.float() - layer(x)).norm() < 0.02 * layer(x).norm()


def test_gradients_agree_between_routes(monkeypatch):
    new = spectral(convolution(CONVOLUTIONS[2]), 0.3)
    x = drawn(2, 6, 7, 5)
    slopes = []
    for route in ("factored", "materialised"):
        take(new, route, monkeypatch)
        slopes.append(torch.autograd.grad(new(x).square().sum(), list(new.parameters())))
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_a_mask_on_the_coefficients_acts_on_them_and_survives_training():
    new = spectral(convolution(CONVOLUTIONS[2]), 0.5)
    keep = drawn(*new.coefficients.shape) > 0
    constrain(new, "coefficients", Mask.of(keep))
    trained(new)
    assert torch.equal(new.coefficients != 0, keep)
    assert [name for _, _, name in weights(new)] == ["coefficients"]
