"""Laws of biases on the grid of the products that they are added to."""

import copy

import pytest
import torch
from torch import nn

from bench.artifact import ship
from bench.runtimes import RUNTIMES
from methods.graph import trace
from methods.layers import constraints
from methods.layers.activations import ActivationQuantizer
from methods.quantization import PTQ, QAT
from methods.quantization.biases import round_biases
from tests.quantization_example import KINDS, SHAPE, Plain, images, network, task, train_a_little


def biased(model):
    """(layer, step of its input) of each convolution or linear layer of `model`, which reads a quantiser directly or
    through what moves values."""
    layers = dict(model.named_modules())
    for node in model.graph.nodes:
        if node.op == "call_module" and isinstance(layers[node.target], nn.Conv2d | nn.Linear):
            before = node.args[0]
            while before.op != "call_module" or not isinstance(layers[before.target], ActivationQuantizer):
                before = before.all_input_nodes[0]
            yield layers[node.target], layers[before.target].scale.item()


@pytest.mark.parametrize("method", [PTQ(), PTQ(bits=4), QAT()])
def test_biases_are_whole_codes(method):
    class Once(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(2, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 5))

        def forward(self, x):
            return self.layers(x)

    found = list(biased(method.compress(trace(Once()), task(train_a_little))))
    assert len(found) == 2
    for layer, step in found:
        unit = step * constraints(layer, "weight")[-1].scale(layer.weight).double()
        codes = (layer.bias.double() / unit).round()
        assert torch.equal(layer.bias, (codes * unit).float())  # the float32 nearest to a whole code, nothing between
        assert codes.abs().max() > 10  # the law says something


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_again_changes_nothing(kind):
    model = PTQ().compress(network(kind), task())
    again = round_biases(copy.deepcopy(model))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_layer_that_reads_two_grids_keeps_its_bias():
    model = network(Plain)
    bias = model.twice.bias.detach().clone()
    assert torch.equal(PTQ().compress(model, task()).twice.bias, bias)


def test_the_bias_of_a_channel_whose_weights_all_but_vanish_is_kept():
    model = network(Plain)
    with torch.no_grad():
        model.first.weight[1] *= 1e-9
        model.first.bias[1] = 0.7
    assert PTQ().compress(model, task()).first.bias[1] == torch.tensor(0.7)


@pytest.mark.parametrize("kind", KINDS)
def test_eager_simulates_the_runtime_better_than_with_finer_biases(kind, tmp_path, monkeypatch):
    x, errors = images(64, seed=9), []
    for index in range(2):
        model = ship(PTQ().compress(network(kind), task()))
        (tmp_path / str(index)).mkdir()
        path = RUNTIMES["onnxruntime"].prepare(model, SHAPE, tmp_path / str(index))
        logits = RUNTIMES["onnxruntime"].load(model, path, threads=1, device="cpu").run(x.numpy())
        with torch.no_grad():
            simulated = model(x)
        errors.append(((torch.from_numpy(logits) - simulated).square().mean().sqrt() / simulated.std()).item())
        monkeypatch.setattr("methods.quantization.ptq.round_biases", lambda model: model)
    assert errors[0] < 1e-3
    assert errors[0] < (1 if kind is Plain else 0.5) * errors[1]  # `twice`, of Plain, reads two grids: its bias stays
