"""Layers that hold one tensor together, and tensors that are no numbers: refused before anything is trained."""

import pytest
import torch
from torch import nn

from bench.artifact import load, save, ship
from methods import METHODS
from methods.base import Effect, Refused, Task
from methods.controls import Longer, Small, Xz
from methods.graph import trace
from methods.pruning import Prune
from methods.pruning.scores import SCORES
from tests.drawing import drawn


def untrainable(model, **_):
    raise AssertionError("it was trained")


# What they return is made of the network's own tensors, changed one by one.
CHANGING = [name for name, kind in METHODS.items() if kind().effect not in (Effect.MAKES_NETWORK, Effect.WRITES_FILE)]
TASK = Task(untrainable, lambda count: iter([drawn(4, 12)]))


class Tied(nn.Module):
    """Two linear layers of one weight, and a third that two calls share."""

    def __init__(self, name: str = "weight") -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 4)
        if name:
            setattr(self.second, name, getattr(self.first, name))

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu())


class Twice(nn.Module):
    """One layer that is called at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(12, 12), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.body(self.body(x).relu()).relu())


@pytest.mark.parametrize("tensor", ["weight", "bias"])
@pytest.mark.parametrize("name", CHANGING)
def test_tied_tensors_are_refused_by_name_before_training(name, tensor):
    with pytest.raises(Refused, match=rf"first\.{tensor} and second\.{tensor} are one tensor, .*: untie them first"):
        METHODS[name]().compress(trace(Tied(tensor)), TASK)


@pytest.mark.parametrize("name", CHANGING)
def test_without_ties_and_with_one_layer_called_twice_nothing_is_refused(name):
    for model in (Tied(""), Twice()):
        assert METHODS[name]().unsupported(trace(model)) is None


@pytest.mark.parametrize("tensor", ["weight", "bias"])
@pytest.mark.parametrize("name", sorted(METHODS.keys() - set(CHANGING) - {"small"}))
def test_ties_are_no_reason_where_the_tensors_are_not_taken_apart(name, tensor):
    assert METHODS[name]().unsupported(trace(Tied(tensor))) is None


@pytest.mark.parametrize("tensor", ["weight", "bias"])
@pytest.mark.parametrize("method", [Longer(), Xz()], ids=str)
def test_a_tied_network_that_was_only_trained_or_written_is_read_as_it_was(method, tensor, tmp_path):
    tied, images = trace(Tied(tensor)), drawn(4, 12)
    done = method.compress(tied, Task(lambda model, **_: model, TASK.calibration))
    save(ship(done), tmp_path / "tied.nnc", {"net": "net"}, method.writing)
    torch.testing.assert_close(load(tmp_path / "tied.nnc").model(images), tied.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("tensor", ["weight", "bias"])
def test_a_network_is_not_narrowed_by_a_tensor_of_two_layers(tensor):
    with pytest.raises(Refused, match="layers of it share tensors"):
        Small().compress(trace(Tied(tensor)), TASK)


@pytest.mark.parametrize("layers", ["all", "linear"])
def test_ties_between_layers_that_are_not_chosen_are_no_reason(layers):
    model = nn.Sequential(nn.Conv1d(3, 4, 1), nn.Flatten(), nn.Linear(12, 12), nn.Linear(12, 12))
    model[3].weight = model[2].weight
    assert Prune(layers="conv").unsupported(trace(model)) is None
    assert "are one tensor" in (Prune(layers=layers).unsupported(trace(model)) or "")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "fields",
    [{"pattern": "2of4"}, {"pattern": "block"}, {"pattern": "channels"}, *({"score": name} for name in SCORES)],
    ids=str,
)
def test_weights_that_are_no_finite_numbers_are_not_ranked(fields, number):
    model = trace(Tied(""))
    with torch.no_grad():
        model.get_submodule("second").weight[3, 4] = number
    with pytest.raises(Refused, match=r"second\.weight holds values that are infinite or not numbers"):
        Prune(**fields).compress(model, TASK)
