"""Laws of quantised tensors: weights on their grids, activations on theirs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from methods.layers import Mask, constrain
from methods.layers.activations import ActivationQuantizer
from methods.layers.quantization import Dequantize, WeightQuantizer, largest_weight_code, weight_scale
from methods.quantization import PTQ
from methods.quantization.calibration import least_squares_range
from tests.quantization_example import images

SHAPES = [(1, 1), (3, 5), (7, 2, 3, 3), (4, 1, 3), (5, 4, 1, 1)]


def drawn(shape, seed=0):
    spread = torch.logspace(-3, 2, shape[0]).view(-1, *(1,) * (len(shape) - 1))  # channels of very different range
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def per_channel(scale, tensor):
    return scale.view(-1, *(1,) * (tensor.ndim - 1))


# Weights


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [2, 4, 7, 8])
def test_a_weight_moves_by_at_most_half_a_step(shape, bits):
    weight = drawn(shape)
    step = per_channel(weight_scale(weight, bits), weight)
    assert ((WeightQuantizer(bits)(weight) - weight).abs() <= step * (0.5 + 1e-5)).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [2, 4, 7, 8])
def test_codes_are_whole_and_symmetric_and_the_largest_weight_has_the_largest_code(shape, bits):
    weight = drawn(shape)
    codes, _ = WeightQuantizer(bits).shipped(weight)
    negated, _ = WeightQuantizer(bits).shipped(-weight)
    assert codes.dtype == torch.int8
    assert torch.equal(codes, -negated)
    assert (codes.abs().reshape(len(codes), -1).amax(1) == largest_weight_code(bits)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_rounding_twice_is_rounding_once(shape):
    rounded = WeightQuantizer()(drawn(shape))
    assert torch.allclose(WeightQuantizer()(rounded), rounded, rtol=1e-6, atol=0)


def test_more_bits_never_lose_more():
    weight = drawn((6, 50))
    errors = [(WeightQuantizer(bits)(weight) - weight).square().sum().item() for bits in range(2, 9)]
    assert errors == sorted(errors, reverse=True)


def test_each_channel_has_a_grid_of_its_own():
    weight = drawn((4, 30))
    alone = torch.cat([WeightQuantizer()(channel[None]) for channel in weight])
    assert torch.equal(WeightQuantizer()(weight), alone)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4), torch.full((3, 4), 1e-30)])
def test_channels_that_vanish_become_zeros_not_nan(wrong):
    codes, reader = WeightQuantizer().shipped(wrong)
    assert not codes.any()
    assert torch.equal(reader(codes), torch.zeros_like(wrong))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [3, 8])
def test_shipped_and_read_is_bit_for_bit_what_the_layer_computes_with(shape, bits):
    weight = drawn(shape)
    codes, reader = WeightQuantizer(bits).shipped(weight)
    assert torch.equal(reader(codes), WeightQuantizer(bits)(weight))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_weight_that_is_not_a_number_is_not_rounded_to_one(wrong):
    weight = drawn((3, 4))
    weight[1, 2] = wrong
    rounded = WeightQuantizer()(weight)
    assert rounded[1].isnan().any()
    assert torch.equal(rounded[[0, 2]], WeightQuantizer()(weight[[0, 2]]))


def test_codes_that_are_not_contiguous_are_read_alike():
    codes = torch.arange(-12, 12, dtype=torch.int8).view(6, 4).t()
    scale = torch.rand(4)
    assert torch.equal(Dequantize.of(scale)(codes), Dequantize.of(scale)(codes.contiguous()))


def test_zeros_of_a_mask_before_the_grid_stay_zero_in_training_and_in_the_codes():
    layer = nn.Linear(6, 4)
    keep = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    keep[2] = False
    constrain(layer, "weight", Mask.of(keep))
    constrain(layer, "weight", WeightQuantizer())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        layer(torch.ones(3, 6)).square().sum().backward()
        optimizer.step()
    assert not layer.weight[~keep].any()
    assert torch.equal(layer.weight[keep] != 0, torch.ones_like(layer.weight[keep], dtype=torch.bool))


def test_gradients_pass_the_rounding_of_weights_straight_through():
    weight = drawn((3, 8)).requires_grad_()
    towards = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    (WeightQuantizer()(weight) * towards).sum().backward()
    assert torch.equal(weight.grad, towards)


@pytest.mark.parametrize("bits", [0, 1, 9, -8])
def test_bits_that_int8_cannot_hold_are_refused(bits):
    with pytest.raises(ValueError, match=f"got {bits}"):
        WeightQuantizer(bits)
    with pytest.raises(ValueError, match=f"got {bits}"):
        PTQ(bits=bits)


# Activations


def quantizer_over(low, high, mode="frozen"):
    quantizer = ActivationQuantizer("calibrating")
    quantizer.set_range(low, high)
    {"frozen": quantizer.freeze, "averaging": quantizer.average}[mode]()
    return quantizer


ends = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=200, deadline=None)
@given(ends, ends)
def test_any_range_gives_a_grid_that_holds_zero_and_rounds_within_half_a_step(one, other):
    low, high = min(one, other), max(one, other)
    quantizer = quantizer_over(low, high)
    assert quantizer(torch.zeros(1)).item() == 0.0
    start, end = quantizer.range()
    inside = torch.linspace(max(low, start), min(high, end), 101)
    step = quantizer.scale.item()
    assert ((quantizer(inside) - inside).abs() <= 0.5 * step * 1.001 + 1e-6 * abs(inside).max()).all()
    if max(high, 0.0) - min(low, 0.0) > 1e-20:  # else the grid of a tensor of zeros, with any step
        assert start - step <= min(low, 0) <= start + step
        assert end - step <= max(high, 0) <= end + step


def test_activations_beyond_the_range_saturate_and_pass_no_gradient():
    quantizer = quantizer_over(-1.0, 1.0)
    x = torch.tensor([-5.0, 0.3, 5.0], requires_grad=True)
    y = quantizer(x)
    y.sum().backward()
    low, high = quantizer.range()
    assert y.tolist() == pytest.approx([low, 0.3, high], abs=quantizer.scale.item() / 2 + 1e-6)
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


def test_rounded_activations_stay_where_they_are():
    quantizer = quantizer_over(-0.7, 2.1)
    once = quantizer(torch.randn(100, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(quantizer(once), once)
    assert len(once.unique()) <= 256


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_activations_of_other_precision_land_on_the_same_grid(dtype):
    quantizer, x = quantizer_over(-2.0, 2.0), torch.linspace(-1, 1, 9)
    assert torch.equal(quantizer(x.to(dtype)), quantizer(x.to(dtype).float()))


def test_calibrating_changes_nothing():
    x = images(3)
    assert ActivationQuantizer("calibrating").train()(x) is x


def test_averaging_follows_the_batches_in_train_mode_only():
    quantizer = quantizer_over(-1.0, 1.0, "averaging").eval()
    wide = torch.tensor([-10.0, 30.0])
    before = quantizer.range()
    quantizer(wide)
    assert quantizer.range() == before
    quantizer.train()
    for _ in range(2000):
        quantizer(wide)
    assert quantizer.range() == pytest.approx((-10.0, 30.0), abs=quantizer.scale.item())
    quantizer.freeze()
    after = quantizer.range()
    quantizer(100 * wide)
    assert quantizer.range() == after


@pytest.mark.parametrize("mode", ["calibrating", "averaging", "frozen"])
def test_configuration_and_state_make_the_same_quantiser(mode):
    quantizer = ActivationQuantizer(mode)
    quantizer.set_range(-0.5, 1.5)
    other = ActivationQuantizer(**quantizer.config())
    other.load_state_dict(quantizer.state_dict())
    assert other.range() == quantizer.range()
    assert other.mode == mode


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_the_range_of_a_diverged_network_is_an_error(wrong):
    with pytest.raises(ValueError, match="diverged"):
        ActivationQuantizer().set_range(-1.0, wrong)


def test_the_least_squares_range_loses_no_more_than_the_whole_range_and_less_with_an_outlier():
    values = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    values[0] = 12.0  # clipping it costs less than the coarser grid does on all others

    def loss(low, high):
        return (quantizer_over(low, high)(values) - values).square().sum().item()

    whole = values.min().item(), values.max().item()
    assert loss(*least_squares_range(values, torch.ones_like(values), *whole)) < 0.9 * loss(*whole)
