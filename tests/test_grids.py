"""Laws of grids of weights: fitted and learned steps, groups, 16 bits."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench.artifact import load, save, ship
from bench.grammar import parse_chains
from methods import METHODS
from methods.base import Refused
from methods.folding import fold_batch_norms
from methods.graph import trace
from methods.layers import Mask, constrain, constraints, original, weights
from methods.layers.activations import ActivationQuantizer, DynamicQuantizer
from methods.layers.groups import DequantizeGroups, GroupQuantizer, in_groups
from methods.layers.halves import Halve
from methods.layers.quantization import StepQuantizer, WeightQuantizer, rounded, weight_scale
from methods.pruning import Prune
from methods.quantization.preparation import fitted_steps
from tests.quantization_example import KINDS, Plain, Residual, images, network, task, train_a_little

SHAPES = [(3, 5), (4, 3, 3, 3), (1, 1), (6, 1, 2, 5)]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(one, other):
    return (one - other).square().sum().item()


# Steps of a channel


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_fitted_steps_lose_no_more_than_those_of_the_largest_weight(shape, bits):
    weight = drawn(*shape)
    fitted = rounded(weight, fitted_steps(weight, bits), bits)
    assert error(fitted, weight) <= error(rounded(weight, weight_scale(weight, bits), bits), weight)


def test_at_few_bits_fitted_steps_lose_clearly_less():
    weight = drawn(16, 200)
    fitted = rounded(weight, fitted_steps(weight, 3), 3)
    assert error(fitted, weight) < 0.7 * error(rounded(weight, weight_scale(weight, 3), 3), weight)


def test_channels_of_zeros_have_a_step_above_zero_and_stay_zero():
    weight = drawn(3, 7)
    weight[1] = 0
    steps = fitted_steps(weight, 4)
    assert (steps > 0).all()
    assert not rounded(weight, steps, 4)[1].any()


def learned_reference(weight, step, bits):
    """Equations 1 to 3 of arXiv 1902.08153 value by value: gradients of the sum of outputs times `weight`."""
    largest = 2 ** (bits - 1) - 1
    scale = 1 / (weight[0].numel() * largest) ** 0.5
    by_weight, by_step = torch.zeros_like(weight), torch.zeros_like(step)
    for out in range(len(weight)):
        for index, value in enumerate(weight[out].flatten().tolist()):
            ratio = value / step[out].item()
            inside = -largest < ratio < largest
            slope = round(ratio) - ratio if inside else (largest if ratio > 0 else -largest)
            by_weight[out].view(-1)[index] = value if inside else 0.0
            by_step[out] += slope * value * scale
    return by_weight, by_step


@pytest.mark.parametrize("bits", [2, 4])
def test_gradients_of_learned_steps_are_the_papers(bits):
    weight = nn.Parameter(drawn(3, 2, 3, 3))
    quantizer = StepQuantizer.of(torch.tensor([0.1, 0.5, 2.0]), bits, learned=True).train()
    (quantizer(weight) * weight.detach()).sum().backward()
    by_weight, by_step = learned_reference(weight.detach(), quantizer.step.detach(), bits)
    assert torch.allclose(weight.grad, by_weight, atol=1e-6)
    assert torch.allclose(quantizer.step.grad, by_step, rtol=1e-4, atol=1e-5)


def test_training_and_evaluation_give_the_same_values():
    weight = drawn(4, 30)
    quantizer = StepQuantizer.of(fitted_steps(weight, 4), 4, learned=True)
    assert torch.allclose(quantizer.train()(weight), quantizer.eval()(weight), atol=1e-6)


def test_a_step_driven_below_zero_still_rounds():
    quantizer = StepQuantizer.of(torch.tensor([-0.25]), 4, learned=True)
    values = quantizer.eval()(torch.tensor([[0.3, -0.6]]))
    assert torch.equal(values, torch.tensor([[0.25, -0.5]]))


def test_freezing_makes_the_steps_a_buffer_with_the_same_outputs():
    weight = drawn(4, 30)
    quantizer = StepQuantizer.of(fitted_steps(weight, 4), 4, learned=True).eval()
    before = quantizer(weight)
    quantizer.freeze()
    assert not list(quantizer.parameters())
    assert torch.equal(quantizer(weight), before)


@pytest.mark.parametrize("factor", [[0.5, 2.0, -3.0, 1e-3], [1.0, -1.0, 0.25, 8.0]])
@pytest.mark.parametrize("grid", [WeightQuantizer(4), StepQuantizer.of(torch.tensor([0.1, 0.2, 0.4, 0.3]), 4)])
def test_folding_a_batch_norm_leaves_the_codes(factor, grid):
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4))
    model[1].weight.data = torch.tensor(factor)
    model[1].running_mean.uniform_(-1, 1)
    constrain(model[0], "weight", copy.deepcopy(grid))
    x = drawn(5, 2, 7, 6)
    model.eval()
    with torch.no_grad():
        expected = model(x)
        folded = fold_batch_norms(trace(model))
        assert not any(isinstance(one, nn.BatchNorm2d) for one in folded.modules())
        assert torch.allclose(folded(x), expected, rtol=1e-4, atol=1e-5)


# Activations


def test_learned_ranges_start_where_they_were_set_and_keep_what_was_learned():
    quantizer = ActivationQuantizer()
    quantizer.set_range(-1.0, 3.0)
    before = quantizer.range()
    quantizer.learn()
    quantizer.step.data *= 1.5
    quantizer.freeze()
    assert quantizer.range() == pytest.approx([1.5 * end for end in before], rel=1e-6)
    assert not list(quantizer.parameters())


def test_the_gradient_of_a_learned_range_grows_it_where_values_saturate():
    quantizer = ActivationQuantizer()
    quantizer.set_range(0.0, 1.0)
    quantizer.learn()
    x = torch.full((4, 8), 5.0)
    F.mse_loss(quantizer(x), x).backward()
    assert quantizer.step.grad < 0  # a larger step loses less


@pytest.mark.parametrize("values", [drawn(3, 7), drawn(3, 7).abs() + 2, -drawn(3, 7).abs() - 2, torch.zeros(3, 7)])
def test_dynamic_rounding_moves_values_by_half_a_step_of_their_own_range_and_keeps_zero(values):
    quantizer = DynamicQuantizer()
    width = max(values.max().item(), 0) - min(values.min().item(), 0)
    assert (quantizer(values) - values).abs().max() <= width / 255 * 0.5001 + 1e-9
    assert quantizer(torch.cat([values, torch.zeros(1, 7)]))[-1].abs().max() == 0


# Groups


@pytest.mark.parametrize("group", [1, 4, 64])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_grouped_codes_read_back_to_what_the_layer_computes_with(shape, bits, group):
    weight = drawn(*shape)
    quantizer = GroupQuantizer(bits, group)
    codes, reader = quantizer.shipped(weight)
    assert codes.dtype == torch.uint8
    assert codes.shape == weight.shape
    assert int(codes.max()) < 2**bits
    assert torch.equal(reader(codes), quantizer(weight))
    assert isinstance(reader, DequantizeGroups)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_group_loses_at_most_half_a_step_of_its_whole_range_a_weight_and_keeps_zeros(bits):
    weight = drawn(5, 50)
    weight[:, ::3] = 0
    quantized = GroupQuantizer(bits, 16)(weight)
    grouped, kept = in_groups(weight, 16), in_groups(quantized, 16)
    width = grouped.amax(-1).clamp(min=0) - grouped.amin(-1).clamp(max=0)
    mean_error = (grouped - kept).square().mean(-1).sqrt()
    assert (mean_error <= width / (2**bits - 1) * 0.51 + 1e-6).all()
    assert not quantized[:, ::3].any()
    codes, _ = GroupQuantizer(bits, 16).shipped(weight)
    assert torch.equal(codes == 0, quantized == 0)


def test_smaller_groups_and_more_bits_lose_less():
    weight = drawn(8, 256)
    losses = [error(GroupQuantizer(4, group)(weight), weight) for group in (256, 64, 16)]
    assert losses == sorted(losses, reverse=True)
    losses = [error(GroupQuantizer(bits, 64)(weight), weight) for bits in (2, 4, 8)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_weight_that_is_not_a_number_is_not_read_back_as_one(wrong):
    weight = drawn(3, 20)
    weight[1, 4] = wrong
    quantizer = GroupQuantizer(4, 8)
    codes, reader = quantizer.shipped(weight)
    for values in (quantizer(weight), reader(codes)):
        assert values[1, :8].isnan().all()
        assert values[0].isfinite().all()


# Files


class Wide(nn.Module):
    """Most of its weights are the 16,000 of the layer in the middle."""

    def __init__(self):
        super().__init__()
        self.first, self.hidden, self.head = nn.Linear(126, 40), nn.Linear(40, 400), nn.Linear(400, 5)

    def forward(self, x):
        return self.head(F.relu(self.hidden(F.relu(self.first(x.flatten(1))))))


MOST_BESIDES = 400 * 4 * 2 + 16_000 / 32 * 3 + 200  # bytes: biases, and steps of channels or groups


def bytes_in_file(model, path):
    """What the file of `model` holds of the layer in the middle: bytes of its weight, and of all else of it."""
    save(ship(model), path, {})
    held = {entry.tensor: entry.bytes for entry in load(path).ledger if entry.layer == "hidden"}
    return held.pop("weight"), sum(held.values())


@pytest.mark.parametrize(
    ("method", "bytes_a_weight"),
    [("ptq", 1), ("ptq:bits=4", 0.5), ("weight_only:bits=4:group=32", 0.5), ("weight_only:bits=2", 0.25),
     ("half", 2), ("qat:bits=6", 0.75), ("dynamic", 1)],
)  # fmt: skip
def test_no_float_weight_is_left_in_a_file(method, bytes_a_weight, tmp_path):
    (chain,) = parse_chains(method, METHODS, layers="all")
    made = chain.stages[0].method.compress(trace(Wide()), task(train_a_little))
    codes, besides = bytes_in_file(made, tmp_path / "one.nnc")
    assert codes <= bytes_a_weight * 16_000 + 16
    assert besides <= MOST_BESIDES


def test_float_weights_left_in_a_file_are_caught(tmp_path):
    codes, _ = bytes_in_file(trace(Wide()), tmp_path / "float.nnc")
    assert codes > 16_000 + 16
    made = METHODS["ptq"]().compress(trace(Wide()), task())
    made.hidden.register_buffer("before", torch.randn(400, 40))  # as a conversion that forgets what it came from
    with pytest.raises(ValueError, match="cannot be written"):  # the file refuses it before the law has to
        bytes_in_file(made, tmp_path / "both.nnc")


@pytest.mark.parametrize("name", ["dynamic", "weight_only", "half", "ptq", "qat"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shipped_computes_the_same(name, kind):
    model = METHODS[name]().compress(network(kind), task(train_a_little))
    with torch.no_grad():
        assert torch.allclose(ship(model)(images(4)), model(images(4)), atol=1e-5)


@pytest.mark.parametrize("name", ["dynamic", "weight_only", "half"])
def test_pruned_weights_stay_zero_and_masks_stay_first(name):
    pruned = Prune(sparsity=0.7).compress(network(Residual), task(train_a_little))
    model = METHODS[name]().compress(pruned, task())
    for _, layer, tensor in weights(model):
        keep = constraints(layer, tensor)[0]
        assert isinstance(keep, Mask)
        assert not getattr(layer, tensor)[~keep.keep].any()
    shipped = ship(model)
    before = sum(int((getattr(layer, one) == 0).sum()) for _, layer, one in weights(pruned))
    assert sum(int((getattr(layer, one) == 0).sum()) for _, layer, one in weights(shipped)) >= before


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_rounds_weights_and_biases_to_the_nearest(dtype):
    model = METHODS["half"](dtype=dtype).compress(network(Plain), task())
    kinds = {one.dtype for layer in ship(model).modules() for one in layer.parameters(recurse=False)}
    assert kinds == {torch.float16 if dtype == "fp16" else torch.bfloat16}
    weight = drawn(50)
    assert (Halve(dtype)(weight) - weight).abs().max() <= weight.abs().max() * (2**-11 if dtype == "fp16" else 2**-8)
    assert original(model.hidden, "weight").dtype == torch.float32


@pytest.mark.parametrize("tensor", ["weight", "bias"])
def test_half_refuses_what_float16_cannot_hold(tensor):
    model = network(Plain)
    with torch.no_grad():
        getattr(model.hidden, tensor).view(-1)[0] = 1e5
    with pytest.raises(Refused, match="is beyond 65504"):
        METHODS["half"](dtype="fp16").compress(model, task())
    assert METHODS["half"](dtype="bf16").compress(model, task())


def test_half_sees_what_folding_makes_of_a_weight():
    model = network(Residual)
    with torch.no_grad():
        model.stem_norm.weight[0] = 1e7  # the weight itself is small
    with pytest.raises(Refused, match="is beyond 65504"):
        METHODS["half"](dtype="fp16").compress(model, task())
