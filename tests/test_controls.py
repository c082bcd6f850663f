"""Controls as methods: a narrower network of the same bytes, the dense network trained on, a general compressor."""

import math

import pytest
import torch
from torch import nn

from baselines.nets import build
from methods import METHODS
from methods.base import Refused, Task
from methods.controls import Longer, Small, Xz
from methods.graph import trace
from tests.contract import Spy, fingerprint, network, outputs, same, stored_values
from tests.drawing import drawn

pytest.importorskip("torch_pruning")


class Student(Spy):
    """A task on images of the network's shape, that trains by shifting weights."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.asked = shape, []

    def calibration(self, count):
        yield drawn(min(count, 2), *self.shape, seed=9)

    def finetune(self, model, *, lr_scale=1.0, full=False, epochs=None, **settings):
        self.asked.append((full, epochs))
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.mul_(1.5)
        return model.eval()


def made(net, shape):
    return trace(build(net, classes=10, input_shape=shape, seed=0))


@pytest.mark.parametrize(
    ("net", "shape"), [("lenet", (1, 16, 16)), ("resnet8", (3, 16, 16)), ("lenet300", (1, 16, 16))]
)
@pytest.mark.parametrize("share", [0.07, 0.3, 0.9])
def test_the_file_of_a_narrower_network_takes_the_bytes_that_are_asked_for(net, shape, share):
    model, spy = made(net, shape), Student(shape)
    target = round(share * spy.stored_bytes(model))
    small = Small(bytes=target).compress(model, spy.task())
    assert abs(spy.stored_bytes(small) - target) <= 0.03 * target
    assert stored_values(small) < stored_values(model)
    assert spy.asked == [(True, None)]  # trained as the dense network was
    assert small(drawn(2, *shape, seed=1)).shape == (2, 10)


def test_every_layer_gives_the_same_share_of_its_channels():
    shape = (3, 16, 16)
    model, spy = made("resnet8", shape), Student(shape)
    small = Small(bytes=spy.stored_bytes(model) // 4).compress(model, spy.task())
    shares = [
        small.get_submodule(path).out_channels / layer.out_channels
        for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d)
    ]  # fmt: skip
    assert max(shares) - min(shares) < 0.15
    assert 0.4 < min(shares) < 0.6  # a quarter of the weights


def test_values_are_new_and_hang_on_the_seed_alone():
    before = fingerprint(network())
    target = Spy().stored_bytes(network()) // 2
    given = network()
    first, again, other = (Small(bytes=target).compress(given, Spy().task(seed)) for seed in (3, 3, 4))
    assert same(before["state"], fingerprint(given)["state"])
    assert torch.equal(outputs(first), outputs(again))
    assert not torch.equal(outputs(first), outputs(other))
    kept = set(network().first.weight.flatten().tolist())
    assert not kept & set(first.first.weight.flatten().tolist())


def test_the_target_is_the_file_of_the_chain_that_is_named():
    asked = []

    class Asked(Spy):
        def task(self, seed=3):
            task = super().task(seed)
            return Task(**{**vars(task), "file_bytes": lambda chain: asked.append(chain) or 7000})

    Small(like="prune:sparsity=0.9").compress(network(), Asked().task())
    Small(like="prune:sparsity=0.9", bytes=6000).compress(network(), Asked().task())
    assert asked == ["prune:sparsity=0.9"]


@pytest.mark.parametrize(
    ("share", "says"), [(1.2, "none narrower is as large"), (0.02, "that of a network of one channel")]
)
def test_files_that_no_width_gives_are_refused_with_both_sizes(share, says):
    target = round(share * Spy().stored_bytes(network()))
    with pytest.raises(Refused, match=says) as caught:
        Small(bytes=target).compress(network(), Spy().task())
    assert str(target) in str(caught.value)


class Odd(nn.Module):
    """Its channels are counted in its own code."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Conv2d(2, 6, 3, padding=1), nn.Linear(6 * 63, 10)

    def forward(self, x):
        return self.head(self.first(x).reshape(x.shape[0], 6 * 63))


def test_a_network_that_cannot_be_made_narrower_is_refused_with_the_reason():
    with pytest.raises(Refused, match=r"does not run with fewer channels|computes something else|no layer of which"):
        Small(bytes=5000).compress(trace(Odd()), Spy().task())


def test_the_same_bytes_are_the_same_width_with_new_values():
    target = Spy().stored_bytes(network())
    small = Small(bytes=target).compress(network(), Spy().task())
    assert stored_values(small) == stored_values(network())
    assert not torch.equal(outputs(small), outputs(network()))


@pytest.mark.parametrize("extra", [None, 0, 7])
def test_longer_asks_for_so_many_epochs_at_once_at_the_fine_tunings_rate(extra):
    spy = Student((2, 9, 7))
    Longer(extra).compress(network(), spy.task())
    assert spy.asked == [(False, extra)]
    assert Longer(extra).epochs(4, 30) == (4 if extra is None else extra)


def test_xz_changes_the_writing_and_nothing_else():
    model = network()
    result = Xz().compress(model, Spy().task())
    assert same(result.state_dict(), model.state_dict())
    assert Xz.writing == "xz"
    assert {name for name, kind in METHODS.items() if kind.writing != "smallest"} == {"xz"}


def controls_of(name, **settings):
    return METHODS[name](**settings).controls()


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, "magnitude"),
        ({"score": "lookahead"}, "lookahead"),
        ({"rates": "uniform"}, "uniform"),
        ({"rates": "snip"}, "snip"),
        ({"preset": "lookahead"}, "global"),
        ({"pattern": "2of4"}, "global"),
        ({"pattern": "channels"}, "magnitude"),
        ({"schedule": "iterative", "sparsity": 0.8, "rates": "uniform"}, "uniform"),
        ({"schedule": "gradual", "sparsity": 0.8, "preset": "lookahead"}, "global"),
    ],
)
def test_prune_names_random_pruning_at_the_rates_of_its_own_score(settings, rates):
    (control,) = controls_of("prune", **settings).values()
    assert (control.score, control.rates) == ("random", rates)
    unchanged = {"sparsity", "pattern", "schedule", "preset", "step", "layers"}
    assert all(getattr(control, name) == getattr(METHODS["prune"](**settings), name) for name in unchanged)


@pytest.mark.parametrize(
    "settings",
    [
        {"score": "random"},
        {"score": "variational"},
        {"rates": "normalized"},
        {"schedule": "iterative", "sparsity": 0.8},
        {"schedule": "gradual", "score": "lookahead"},
        {"schedule": "iterative", "sparsity": 0.8, "rates": "snip"},
        {"schedule": "iterative", "sparsity": 0.8, "pattern": "channels"},
    ],
)
def test_where_no_setting_gives_the_same_rates_there_is_no_random_control(settings):
    assert controls_of("prune", **settings) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"score": "lookahead"},
        {"rates": "taylor"},
        {"pattern": "block", "block": "2x2"},
        {"schedule": "iterative", "rates": "uniform"},
        {"schedule": "gradual", "rates": "uniform"},
    ],
)
def test_random_pruning_takes_as_much_of_each_layer_and_something_else_of_it(settings):
    method = METHODS["prune"](sparsity=0.8, **settings)
    pruned, control = (one.compress(network(), Spy().task()) for one in (method, method.controls()["random"]))
    zeros = [[(p == 0).sum().item() for n, p in sorted(m.state_dict().items()) if n.endswith("original")]
             for m in (pruned, control)]  # fmt: skip
    masks = [[b for n, b in sorted(m.named_buffers()) if b.dtype == torch.bool] for m in (pruned, control)]
    assert math.isclose(sum(zeros[0]), sum(zeros[1]))
    assert [mask.sum() for mask in masks[0]] == [mask.sum() for mask in masks[1]]
    assert any(not torch.equal(one, other) for one, other in zip(*masks, strict=True))


def test_a_student_is_compared_with_itself_untaught():
    control = controls_of("distill", student="student2", temperature=2.0, subset=0.5)["untaught"]
    assert (control.loss, control.student, control.subset) == ("none", "student2", 0.5)
    assert control.controls() == {}
