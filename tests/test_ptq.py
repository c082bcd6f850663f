"""Laws of what `ptq` does besides rounding: bits of layers, budgets, biases, equalisation."""

import copy
import itertools
import random

import pytest
import torch
from torch import nn

from methods.base import Refused
from methods.folding import fold_batch_norms
from methods.graph import trace
from methods.layers import constraints, weights
from methods.quantization import PTQ, QAT
from methods.quantization.bias_correction import correct_biases
from methods.quantization.equalization import equalize
from methods.quantization.preparation import bits_of_layers, put_on_grids
from methods.quantization.sensitivity import allocate, divergences
from tests.quantization_example import KINDS, Depthwise, Plain, Residual, images, network, task, train_a_little


def bits_by_path(model):
    return {path: constraints(layer, name)[-1].bits for path, layer, name in weights(model)}


# Bits of layers


@pytest.mark.parametrize("method", [PTQ(bits=4), QAT(bits=4)])
def test_first_and_last_layer_stay_at_eight_bits(method):
    found = bits_by_path(method.compress(network(Plain), task(train_a_little)))
    assert found == {"first": 8, "twice": 4, "hidden": 4, "head": 8}


@pytest.mark.parametrize(("fields", "first", "inner"), [({"first_last_bits": 0}, 3, 3), ({"first_last_bits": 6}, 6, 3)])
def test_the_first_and_last_layers_bits_are_as_asked(fields, first, inner):
    found = bits_by_path(PTQ(bits=3, **fields).compress(network(Plain), task()))
    assert (found["first"], found["twice"]) == (first, inner)


def test_first_and_last_are_the_networks_not_those_of_one_family():
    assert bits_of_layers(network(Plain), "conv", 4, 8) == {"first": 8, "twice": 4}


# Budgets


def random_costs(seed):
    rng = random.Random(seed)
    widths = (8, 4, 2)
    costs = {}
    for path in "abcde":
        losses = sorted(rng.random() ** 3 for _ in widths)
        costs[path] = dict(zip(widths, losses, strict=True))
    return costs, {path: rng.randrange(1, 1000) for path in costs}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("budget", [2, 3.3, 5, 6.5, 8])
def test_budgets_are_kept_and_nearly_the_best_is_found(seed, budget):
    costs, sizes = random_costs(seed)
    choice = allocate(costs, sizes, budget)
    total = sum(sizes.values())
    assert sum(choice[path] * sizes[path] for path in choice) <= budget * total + 1e-9

    def loss(widths):
        return sum(costs[path][width] for path, width in zip(costs, widths, strict=True))

    possible = [
        widths
        for widths in itertools.product((8, 4, 2), repeat=len(costs))
        if sum(w * size for w, size in zip(widths, sizes.values(), strict=True)) <= budget * total + 1e-9
    ]
    best, worst = min(map(loss, possible)), max(map(loss, possible))
    assert loss(choice.values()) <= best + 0.25 * (worst - best) + 1e-12


def test_with_room_for_all_every_layer_gets_its_best():
    costs, sizes = random_costs(3)
    assert allocate(costs, sizes, 8) == {path: min(one, key=one.get) for path, one in costs.items()}


def test_a_budget_below_the_fewest_bits_is_refused_with_the_least_that_goes():
    with pytest.raises(Refused, match=r"budget must be at least 2\.00 bits here, got 1\.5"):
        allocate(*random_costs(0), 1.5)
    with pytest.raises(Refused, match="budget must be at least"):
        PTQ(budget=2.0).compress(network(Plain), task())  # its first and last layer have 8


@pytest.mark.parametrize("budget", [3.0, 5.0])
def test_the_mean_of_a_networks_bits_is_within_the_budget(budget):
    model = PTQ(budget=budget, first_last_bits=0).compress(network(Residual), task())
    found = bits_by_path(model)
    sizes = {path: getattr(layer, name).numel() for path, layer, name in weights(model)}
    assert budget - 1 <= sum(found[path] * sizes[path] for path in found) / sum(sizes.values()) <= budget


def test_sensitivity_is_measured_and_leaves_the_network_alone():
    model = fold_batch_norms(copy.deepcopy(network(Plain)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    costs = divergences(model, dict.fromkeys(["first", "twice", "hidden"], (8, 4, 2)), images(16))
    assert all(one[8] < one[4] < one[2] for one in costs.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_sensitive_layer_gets_more_bits_than_one_that_does_not_matter():
    model = network(Plain)
    with torch.no_grad():
        model.twice.weight.zero_()  # whatever its bits are, it computes the same
    found = bits_by_path(PTQ(budget=4.0, first_last_bits=0).compress(model, task()))
    assert found["twice"] < found["hidden"]


# Biases


def means(model, x):
    """Mean output of each layer with weights, by path and channel."""
    found = {}
    hooks = [
        layer.register_forward_hook(
            lambda layer, _, out, path=path: found.update({path: out.detach().transpose(0, 1).flatten(1).mean(1)})
        )
        for path, layer, _ in weights(model)
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_corrected_biases_bring_mean_outputs_back(kind):
    reference = fold_batch_norms(copy.deepcopy(network(kind)))
    model = put_on_grids(copy.deepcopy(reference), bits_of_layers(reference, "all", 3, 0), "fitted")
    x = images(40, seed=5)
    expected, rounded = means(reference, x), means(model, x)
    corrected = means(correct_biases(model, reference, x.split(16)), x)
    layers = dict(reference.named_modules())
    for path in expected:
        if layers[path].bias is not None and (kind is not Plain or path == "first"):  # `twice` is called twice
            assert torch.allclose(corrected[path], expected[path], atol=1e-4), path
            assert not torch.allclose(rounded[path], expected[path], atol=1e-5), path


def test_a_layer_without_bias_gets_none():
    reference = trace(nn.Sequential(nn.Conv2d(2, 3, 3, bias=False)))
    model = put_on_grids(copy.deepcopy(reference), {"0": 2}, "fitted")
    assert correct_biases(model, reference, [images(8)]).get_submodule("0").bias is None


@pytest.mark.parametrize("kind", KINDS)
def test_bias_correction_helps_at_few_bits(kind):
    model, x = network(kind), images(64)
    with torch.no_grad():
        expected = model(x)
        losses = [
            (PTQ(bits=3, bias_correction=on).compress(model, task())(x) - expected).square().mean()
            for on in (True, False)
        ]
    assert losses[0] < losses[1]


# Equalisation


@pytest.mark.parametrize("kind", [Plain, Residual])
def test_equalisation_leaves_the_function(kind):
    model, x = fold_batch_norms(copy.deepcopy(network(kind))), images(8)
    with torch.no_grad():
        expected = model(x)
        before = {path: layer.weight.detach().clone() for path, layer, _ in weights(model)}
        assert torch.allclose(equalize(model)(x), expected, rtol=1e-4, atol=1e-4)
    if kind is Plain:  # `hidden` and `head` are neighbours
        assert not torch.equal(model.hidden.weight, before["hidden"])


def uneven(seed=0):
    """A depthwise network whose channels differ by orders of magnitude, its function as before; no ReLU6 clips."""
    model = fold_batch_norms(copy.deepcopy(network(Depthwise, seed)))
    factors = 10 ** torch.linspace(-1.5, 1.5, 12)[torch.randperm(12, generator=torch.Generator().manual_seed(seed))]
    with torch.no_grad():
        model.expand.weight *= factors.view(-1, 1, 1, 1)
        model.expand.bias *= factors
        model.depthwise.weight /= factors.view(-1, 1, 1, 1)
        for name in ("expand", "depthwise"):  # ReLU6 -> ReLU
            assert getattr(model, name) is not None
    for node in list(model.graph.nodes):
        if node.op == "call_module" and node.target == "relu6":
            with model.graph.inserting_after(node):
                relu = model.graph.call_function(torch.relu, (node.args[0],))
            node.replace_all_uses_with(relu)
            model.graph.erase_node(node)
    model.recompile()
    return model


def test_equalisation_brings_neighbours_to_like_ranges():
    model, x = uneven(), images(8)
    with torch.no_grad():
        expected = model(x)
        assert torch.allclose(equalize(model)(x), expected, rtol=1e-3, atol=1e-3)
    out = model.expand.weight.abs().flatten(1).amax(1)
    into = model.depthwise.weight.abs().flatten(1).amax(1)
    assert (out / into - 1).abs().max() < 0.05


@pytest.mark.parametrize("seed", [0, 1])
def test_equalisation_helps_where_channels_differ(seed):
    model, x = uneven(seed), images(64)
    with torch.no_grad():
        expected = model(x)
        losses = [
            (PTQ(equalize=on, bias_correction=False).compress(model, task())(x) - expected).square().mean()
            for on in (True, False)
        ]
    assert losses[0] < 0.5 * losses[1]


def test_a_relu6_between_equalised_layers_becomes_a_relu():
    model = equalize(fold_batch_norms(copy.deepcopy(network(Depthwise))))
    kinds = [node.target for node in model.graph.nodes if "relu" in str(node.target)]
    assert "relu6" in kinds  # the last one stands before a mean, not between layers
    assert len([one for one in kinds if one != "relu6"]) == 2


# Activations


def test_without_activations_the_graph_is_as_it_was():
    model = PTQ(activations="none").compress(network(Residual), task())
    assert not [one for one in model.modules() if type(one).__name__ == "ActivationQuantizer"]
    assert set(bits_by_path(model).values()) == {8}


@pytest.mark.parametrize(
    ("fields", "most"),
    [({"bits": 7, "first_last_bits": 7, "budget": 5.0}, 7), ({"bits": 4, "first_last_bits": 7, "budget": 4.5}, 7),
     ({"budget": 7.0, "first_last_bits": 7}, 8)],
)  # fmt: skip
def test_budgets_go_with_bits_that_are_no_usual_width(fields, most):
    model = PTQ(**fields).compress(network(Plain), task())
    found = bits_by_path(model)
    assert min(found["first"], found["head"]) >= 7
    assert max(found.values()) <= most


def test_a_budget_that_no_layer_can_use_is_refused_at_once():
    with pytest.raises(ValueError, match="no layer can use it"):
        PTQ(bits=4, first_last_bits=4, budget=6.0)
