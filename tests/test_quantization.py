"""Laws of where quantisers go, and of PTQ and QAT."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from bench.artifact import ship
from methods.base import Refused
from methods.graph import trace
from methods.layers import constrained_tensors, constraints, original, weights
from methods.layers.activations import ActivationQuantizer
from methods.layers.quantization import StepQuantizer, WeightQuantizer
from methods.pruning import Prune
from methods.quantization import PTQ, QAT
from methods.quantization.calibration import calibrate
from methods.quantization.placement import activation_quantizers
from methods.spectral import DCT
from tests.quantization_example import KINDS, Plain, Residual, images, network, task, train_a_little

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
    assert all(isinstance(constraints(layer, name)[-1], StepQuantizer) for _, layer, name in weights(model))
    for node in nodes_of(model, nn.BatchNorm2d):
        assert node.args[0] not in nodes_of(model, nn.Conv2d)


@pytest.mark.parametrize("layers", ["conv", "linear"])
def test_layers_keeps_to_one_family(layers):
    model = PTQ(layers=layers).compress(network(Plain), task())
    touched = {type(layer).__name__ for _, layer, _ in weights(model) if list(constrained_tensors(layer))}
    assert touched == {"ParametrizedConv2d" if layers == "conv" else "ParametrizedLinear"}


def test_a_spectral_network_has_quantised_coefficients_and_no_quantiser_where_nothing_is_int8():
    spectral = DCT(layers="linear").compress(network(Plain), task(train_a_little))  # small: the dense path is quicker
    model = PTQ(layers="linear").compress(spectral, task())
    quantised = [constraints(layer, name) for _, layer, name in weights(model, "linear")]
    assert len(quantised) == 2
    assert all(isinstance(one[-1], StepQuantizer) for one in quantised)
    assert not activation_quantizers(model)


# PTQ


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("observer", ["histogram", "minmax", "percentile"])
def test_ptq_stays_close_to_the_float_network_and_closer_with_more_bits(kind, observer):
    model, x = network(kind), images(32, seed=5)
    errors = []
    for bits in (2, 8):
        quantised = PTQ(bits=bits, observer=observer).compress(model, task())
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
    pruned = Prune(sparsity=0.7).compress(network(Residual), task(train_a_little))
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


def train_and_watch(model, *, lr_scale=1.0, full=False, decay=None, at_step=lambda done: None):
    """Fine-tuning that fails unless every layer multiplies rounded weights with rounded activations in train mode."""
    watched = []

    def watch(layer, inputs):
        if layer.training:
            (values,) = inputs
            grids = [one for one in constraints(layer, "weight") if isinstance(one, WeightQuantizer | StepQuantizer)]
            if not grids or len(values.detach().unique()) > 256:
                raise NotTrainedOnTheGrid(layer)
            weight = layer.weight.detach()
            codes = weight / grids[-1].scale(weight).detach().view(-1, 1, 1, 1)
            if not torch.allclose(codes, codes.round(), atol=1e-3) or codes.abs().max() > 2 ** (grids[-1].bits - 1):
                raise NotTrainedOnTheGrid(layer)
            watched.append(layer)

    hooks = [layer.register_forward_pre_hook(watch) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    try:
        train_a_little(model, lr_scale=lr_scale, at_step=at_step)
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
        def without_activations(quantised, *, lr_scale=1.0, at_step):
            for quantizer in activation_quantizers(quantised):
                quantizer._set_mode("calibrating")
            return task.finetune(quantised, lr_scale=lr_scale, at_step=at_step)

        return super().compress(model, type(task)(without_activations, task.calibration))


@pytest.mark.parametrize("ranges", ["learned", "averaged"])
@pytest.mark.parametrize("kind", [Plain, Residual])
def test_qat_trains_on_the_grid(kind, ranges):
    calls = []

    def finetune(model, *, lr_scale=1.0, full=False, decay=None, at_step=None):
        calls.append(train_and_watch(model, lr_scale=lr_scale, at_step=at_step))  # fails where a layer leaves the grid
        return calls[-1]

    QAT(ranges=ranges).compress(network(kind), task(finetune))
    assert len(calls) == 1


@pytest.mark.parametrize("offender", [FloatTrained(), WeightsOnly()])
def test_training_off_the_grid_is_caught(offender):
    with pytest.raises(NotTrainedOnTheGrid):
        offender.compress(network(Plain), task(train_and_watch))


@pytest.mark.parametrize("kind", KINDS)
def test_every_stored_tensor_gets_a_gradient_through_the_rounding(kind):
    def look(model, *, lr_scale=1.0, at_step):
        model.train()(images(8)).square().sum().backward()
        for path, layer, name in weights(model):
            assert original(layer, name).grad.abs().sum() > 0, path
        return model.eval()

    QAT().compress(network(kind), task(look))


def test_training_on_the_grid_moves_weights_and_lowers_the_loss():
    x, y = images(16, seed=3), torch.arange(16) % 5
    before = PTQ(bits=4).compress(network(Residual), task())
    after = QAT(bits=4).compress(
        network(Residual),
        task(lambda model, lr_scale, at_step: train_a_little(model, lr_scale=lr_scale, steps=30, at_step=at_step)),
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

    def finetune(model, *, lr_scale=1.0, full=False, decay=None, at_step=None):
        seen.append(lr_scale)
        return model.eval()

    QAT(lr_scale=0.3).compress(network(Plain), task(finetune))
    assert seen == [0.3]
    with pytest.raises(ValueError, match="lr_scale must be above 0"):
        QAT(lr_scale=0.0)


def frozen_from(model, method):
    """The shares of training at which batch norms and averaged ranges moved, and those at which learned steps lay
    beyond a factor of 4 of where they started."""
    moved, strayed = [], []

    def finetune(model, *, lr_scale=1.0, at_step):
        starts = {name: value.detach().clone() for name, value in model.named_parameters() if name.endswith("step")}
        for step in range(10):
            before = {name: value.clone() for name, value in model.named_buffers()}
            model.train()
            for name, value in model.named_parameters():
                if name.endswith("step"):
                    value.data.mul_(100)  # one bad gradient
            at_step(step / 10)
            if any((value / starts[name] > 4.01).any() for name, value in model.named_parameters() if name in starts):
                strayed.append(step / 10)
            with torch.no_grad():
                model(5 * images(8, seed=step))
            after = dict(model.named_buffers())
            moved.extend([step / 10] if any(not torch.equal(before[name], after[name]) for name in before) else [])
        return model.eval()

    method.compress(model, task(finetune))
    return moved, strayed


@pytest.mark.parametrize("ranges", ["learned", "averaged"])
@pytest.mark.parametrize(("freeze", "moving"), [(0.7, 7), (0.0, 0), (1.0, 10), (0.35, 4)])
def test_batch_norms_and_averaged_ranges_move_up_to_the_share_that_freezes_them(ranges, freeze, moving):
    moved, strayed = frozen_from(network(Residual), QAT(ranges=ranges, freeze=freeze))
    assert moved == [step / 10 for step in range(moving)]
    assert not strayed
