"""Laws of quantised tensors, of where quantisers go, and of PTQ and QAT."""

import copy
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.artifact import ship
from methods.base import Refused
from methods.graph import trace
from methods.layers import Mask, constrain, constrained_tensors, constraints, original, weights
from methods.layers.quantization import (
    ActivationQuantizer,
    Dequantize,
    WeightQuantizer,
    largest_weight_code,
    weight_scale,
)
from methods.pruning import MagnitudePruning
from methods.quantization import PTQ, QAT
from methods.quantization.calibration import calibrate, least_squares_range
from methods.quantization.placement import activation_quantizers
from methods.spectral import DCT
from tests.quantization_example import KINDS, Plain, Residual, images, network, task, train_a_little

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
        PTQ(weight_bits=bits)


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
    assert loss(*least_squares_range(values, *whole)) < 0.9 * loss(*whole)


# Where quantisers go


def nodes_of(model, kind):
    layers = dict(model.named_modules())
    return [node for node in model.graph.nodes if node.op == "call_module" and isinstance(layers[node.target], kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_convolution_and_linear_layer_reads_the_grid_and_none_is_rounded_twice(kind):
    model = PTQ().compress(network(kind), task())
    for node in nodes_of(model, nn.Conv2d | nn.Linear):
        assert on_grid(model, node.args[0]), node
    for node in nodes_of(model, ActivationQuantizer):
        assert not on_grid(model, node.args[0]), node
        assert (
            sum(user.op == "call_module" and user in nodes_of(model, ActivationQuantizer) for user in node.users) == 0
        )


def on_grid(model, node):
    """An independent, narrower walk: up through one-input layers and calls that only move values."""
    moving = (nn.MaxPool2d, nn.Dropout, nn.Flatten)
    while node not in nodes_of(model, ActivationQuantizer):
        if not (node in nodes_of(model, moving) or "flatten" in str(node.target)):
            return False
        node = node.all_input_nodes[0]
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_not_rounded(kind):
    model = PTQ().compress(network(kind), task())
    (output,) = (node for node in model.graph.nodes if node.op == "output")
    assert output.args[0] not in nodes_of(model, ActivationQuantizer)


@pytest.mark.parametrize("kind", KINDS)
def test_every_stored_weight_is_on_a_grid_and_batch_norms_after_convolutions_are_gone(kind):
    model = PTQ().compress(network(kind), task())
    assert all(isinstance(constraints(layer, name)[-1], WeightQuantizer) for _, layer, name in weights(model))
    for node in nodes_of(model, nn.BatchNorm2d):
        assert node.args[0] not in nodes_of(model, nn.Conv2d)


@pytest.mark.parametrize("layers", ["conv", "linear"])
def test_layers_keeps_to_one_family(layers):
    model = PTQ(layers=layers).compress(network(Plain), task())
    touched = {type(layer).__name__ for _, layer, _ in weights(model) if list(constrained_tensors(layer))}
    assert touched == {"ParametrizedConv2d" if layers == "conv" else "ParametrizedLinear"}


def test_a_spectral_network_has_quantised_coefficients_and_no_quantiser_where_nothing_is_int8():
    spectral = DCT().compress(network(Plain), task(train_a_little))
    model = PTQ().compress(spectral, task())
    assert [constraints(layer, name)[-1] for _, layer, name in weights(model)]
    assert not activation_quantizers(model)


# PTQ


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("observer", ["mse", "minmax"])
def test_ptq_stays_close_to_the_float_network_and_closer_with_more_bits(kind, observer):
    model, x = network(kind), images(32, seed=5)
    errors = []
    for bits in (2, 8):
        quantised = PTQ(weight_bits=bits, observer=observer).compress(model, task())
        with torch.no_grad():
            errors.append(((quantised(x) - model(x)).norm() / model(x).norm()).item())
    assert errors[1] < 0.06
    assert errors[0] > 3 * errors[1]


@pytest.mark.parametrize("method", [PTQ(), QAT()])
def test_shipping_leaves_the_outputs(method):
    for kind in KINDS:
        model = method.compress(network(kind), task(train_a_little))
        with torch.no_grad():
            assert torch.allclose(ship(model)(images(4)), model(images(4)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", [PTQ(), QAT()])
def test_zeros_of_pruning_survive_to_the_codes(method):
    pruned = MagnitudePruning(sparsity=0.7).compress(network(Residual), task(train_a_little))
    zeros = {f"{path}.{name}": getattr(layer, name) == 0 for path, layer, name in weights(pruned)}
    shipped = ship(method.compress(pruned, task(train_a_little)))
    for path, layer, name in weights(shipped):
        codes = original(layer, name)
        assert codes.dtype == torch.int8
        assert not codes[zeros[f"{path}.{name}"]].any()


@pytest.mark.parametrize("method", [PTQ(), QAT()])
def test_a_quantised_network_is_not_quantised_again(method):
    model = PTQ().compress(network(Plain), task())
    for quantised in (model, ship(model)):
        assert "already" in method.unsupported(quantised)
        with pytest.raises(Refused, match="already"):
            method.compress(quantised, task())


@pytest.mark.parametrize("method", [PTQ(layers="conv"), QAT(layers="conv")])
def test_a_network_without_such_layers_is_refused(method):
    assert "no conv layer" in method.unsupported(trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))))


@pytest.mark.parametrize("fields", [{"calibration": 0}, {"calibration": -3}])
def test_calibration_needs_images(fields):
    with pytest.raises(ValueError, match="at least 1"):
        PTQ(**fields)
    with pytest.raises(ValueError, match="no images"):
        calibrate(PTQ().compress(network(Plain), task()), [], "minmax")


def test_a_diverged_network_is_an_error_not_a_wrong_range():
    model = network(Plain)
    with torch.no_grad():
        model.first.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="diverged"):
        PTQ().compress(model, task())


# QAT


class NotTrainedOnTheGrid(AssertionError):
    pass


def train_and_watch(model, *, lr_scale=1.0):
    """Fine-tuning that fails unless every layer multiplies rounded weights with rounded activations in train mode."""
    watched = []

    def watch(layer, inputs):
        if layer.training:
            (values,) = inputs
            rounded = WeightQuantizer()(layer.weight.detach())
            if not torch.allclose(rounded, layer.weight.detach(), rtol=1e-5, atol=0) or len(values.unique()) > 2 * 256:
                raise NotTrainedOnTheGrid(layer)
            watched.append(layer)

    hooks = [layer.register_forward_pre_hook(watch) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    try:
        train_a_little(model, lr_scale=lr_scale)
    finally:
        for hook in hooks:
            hook.remove()
    if not watched:
        raise NotTrainedOnTheGrid("no layer ran")
    return model


@dataclass(frozen=True)
class FloatTrained(QAT):
    """Offender: fine-tunes in float32 and quantises afterwards; the same file, but not trained on its grid."""

    def compress(self, model, task):
        return PTQ(calibration=self.calibration).compress(task.finetune(copy.deepcopy(model)), task)


@dataclass(frozen=True)
class WeightsOnly(QAT):
    """Offender: activations are not rounded while training."""

    def compress(self, model, task):
        def without_activations(quantised, *, lr_scale=1.0):
            for quantizer in activation_quantizers(quantised):
                quantizer._set_mode("calibrating")
            return task.finetune(quantised, lr_scale=lr_scale)

        return super().compress(model, type(task)(without_activations, task.calibration))


@pytest.mark.parametrize("kind", [Plain, Residual])
def test_qat_trains_on_the_grid(kind):
    QAT().compress(network(kind), task(train_and_watch))


@pytest.mark.parametrize("offender", [FloatTrained(), WeightsOnly()])
def test_training_off_the_grid_is_caught(offender):
    with pytest.raises(NotTrainedOnTheGrid):
        offender.compress(network(Plain), task(train_and_watch))


@pytest.mark.parametrize("kind", KINDS)
def test_every_stored_tensor_gets_a_gradient_through_the_rounding(kind):
    def look(model, *, lr_scale=1.0):
        model.train()(images(8)).square().sum().backward()
        for path, layer, name in weights(model):
            assert original(layer, name).grad.abs().sum() > 0, path
        return model.eval()

    QAT().compress(network(kind), task(look))


def test_training_on_the_grid_moves_weights_and_lowers_the_loss():
    x, y = images(16, seed=3), torch.arange(16) % 5
    before = PTQ(weight_bits=4).compress(network(Residual), task())
    after = QAT(weight_bits=4).compress(
        network(Residual), task(lambda model, lr_scale: train_a_little(model, lr_scale=lr_scale, steps=30))
    )
    with torch.no_grad():
        assert nn.functional.cross_entropy(after(x), y) < nn.functional.cross_entropy(before(x), y)
    assert not torch.equal(original(after.stem, "weight"), original(before.stem, "weight"))


def test_ranges_are_frozen_when_training_is_over():
    model = QAT().compress(network(Plain), task(train_a_little))
    assert {quantizer.mode for quantizer in activation_quantizers(model)} == {"frozen"}
    ranges = [quantizer.range() for quantizer in activation_quantizers(model)]
    model.train()(100 * images(4))
    assert [quantizer.range() for quantizer in activation_quantizers(model)] == ranges


def test_the_learning_rate_is_scaled_as_asked():
    seen = []

    def finetune(model, *, lr_scale=1.0):
        seen.append(lr_scale)
        return model.eval()

    QAT(lr_scale=0.3).compress(network(Plain), task(finetune))
    assert seen == [0.3]
    with pytest.raises(ValueError, match="lr_scale must be above 0"):
        QAT(lr_scale=0.0)
