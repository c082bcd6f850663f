"""Biases that nothing reads go, and no output changes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Task
from methods.graph import trace
from methods.layers import weights
from methods.pruning import Prune
from methods.pruning.silence import silence
from tests.drawing import drawn


class Net(nn.Module):
    """A chain with a shortcut and a concatenation, so that outputs are read in several places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.side = nn.Conv2d(2, 4, 1)
        self.hidden = nn.Linear(12 * 3 * 3, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x):
        a = F.relu(self.first(x))
        a = F.relu(a + self.second(a))
        both = torch.cat([a, self.side(x)], 1)
        return self.head(F.relu(self.hidden(torch.flatten(F.max_pool2d(both, 2), 1))))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trace(Net())


IMAGES = drawn(9, 2, 6, 6, seed=1)


def biases(model):
    return {name: tensor for name, tensor in model.state_dict().items() if name.endswith("bias")}


def test_a_bias_goes_when_all_that_reads_it_is_zero_and_not_before(network):
    with torch.no_grad():
        network.head.weight[:, 3] = 0
        network.hidden.weight[:, 8 * 9 : 9 * 9] = 0  # the first channel of `side`, behind those of the sum
        network.hidden.weight[:, 0:9] = 0  # channel 0 of the sum, still read by the second convolution
        expected = network(IMAGES)
        before = {name: tensor.clone() for name, tensor in biases(network).items()}
        assert silence(network, IMAGES[:1]) == 2 + 1
        assert torch.equal(network(IMAGES), expected)
    gone = {(name, int(at)) for name, old in before.items() for at in (biases(network)[name] != old).nonzero()}
    assert gone == {("hidden.bias", 3), ("side.bias", 0), ("second.bias", 0)}
    assert all(biases(network)[name][at] == 0 for name, at in gone)


def test_small_weights_still_read(network):
    with torch.no_grad():
        network.head.weight[:, 3] = 1e-30  # whose square is zero in float32
    assert silence(network, IMAGES[:1]) == 0


@pytest.mark.parametrize("schedule", ["oneshot", "iterative", "gradual"])
def test_pruning_silences_and_outputs_are_those_of_the_pruned_weights(network, schedule):
    task = Task(lambda model, **_: model.eval(), lambda count: iter([IMAGES[:count]]))
    without = Task(lambda model, **_: model.eval(), lambda count: iter(()))
    silenced, loud = (Prune(0.97, schedule=schedule).compress(network, one) for one in (task, without))
    with torch.no_grad():
        assert torch.equal(silenced(IMAGES), loud(IMAGES))
    assert sum(int((one == 0).sum()) for one in biases(silenced).values()) > 0
    assert all((one != 0).all() for one in biases(loud).values())
    for (_, layer, name), (_, other, _) in zip(weights(silenced), weights(loud), strict=True):
        assert torch.equal(getattr(layer, name), getattr(other, name))


def test_a_network_that_cannot_be_followed_is_left_alone():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.one(x) * self.two(x))

    model = trace(Gated())
    with torch.no_grad():
        model.head.weight.zero_()
    assert silence(model, torch.zeros(1, 4)) == 0
