"""Cut networks in files and chains, and those that are not cut, each with its reason."""

import re
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.artifact import load, save, ship
from methods import METHODS
from methods.base import Effect, Pipeline, Refused, Task
from methods.graph import modules_called, trace
from methods.pruning import Prune
from tests import contract
from tests.channels_example import IMAGES, SHAPE, Plain, Wide, cut, network, task

pytest.importorskip("torch_pruning")


# Why these cannot follow a cut
OTHER_NETWORK = "it would start from another network"
AFTER = dict.fromkeys(("distill", "ensemble", "small"), OTHER_NETWORK) | {"longer": "it trains the dense network on"}

# Files, chains, refusals


def test_a_cut_network_is_written_and_read(tmp_path):
    small = ship(cut(round_to=1))
    save(small, tmp_path / "small.nnc", {"net": "net"})
    read = load(tmp_path / "small.nnc").model
    assert {path: layer.weight.shape for path, layer in modules_called(read).items() if hasattr(layer, "weight")} == {
        path: layer.weight.shape for path, layer in modules_called(small).items() if hasattr(layer, "weight")
    }
    torch.testing.assert_close(read(IMAGES), small(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_channels_are_cut_before_anything_else_but_where_the_network_is_made(name):
    cutting, other = Prune(pattern="channels"), METHODS[name]()
    assert cutting.effect is Effect.REMOVES_CHANNELS
    why_not = {Effect.MAKES_NETWORK: None, Effect.WRITES_FILE: "how the file is written is said last"}
    reason = why_not.get(other.effect, "it would cut channels of")
    for stages, refused in ((other, cutting), reason), ((cutting, other), AFTER.get(name)):
        if refused is None:
            Pipeline(stages)
        else:
            with pytest.raises(ValueError, match=refused):
                Pipeline(stages)


def test_the_network_of_the_contract_is_cut():
    small = Prune(pattern="channels").compress(contract.network(), contract.Spy().task())
    assert (small.grouped.in_channels, small.grouped.groups, small.depthwise.groups) == (9, 3, 9)
    assert small.hidden.out_features == 8


def refusal(net, **fields):
    with pytest.raises(Refused) as caught:
        cut(network(net), **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Fixed(Plain):
    def forward(self, x):
        return self.head(F.relu(self.b(F.relu(self.a(x)))).view(-1, 144))


class Shuffled(Plain):
    """Mixes channels: the half of them is added to the other one."""

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.head(torch.flatten(self.b(x + x.roll(1, 1)), 1))


class Joined(Plain):
    """Flattens channels of two layers, which torch-pruning does not follow."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(12, 16, 3, stride=2)
        self.head = nn.Linear(32 * 9, 10)

    def forward(self, x):
        x = self.a(x)
        return self.head(torch.flatten(torch.cat([self.b(x), self.c(x)], 1), 1))


class Reading(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 12, 1, 1))

    def forward(self, x):
        return self.head(torch.flatten(self.b(self.a(x) * self.scale), 1))


class Narrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        return self.head(self.a(x).mean((2, 3)))


def test_networks_with_sizes_or_orders_of_their_own_are_refused():
    assert "does not run with fewer channels" in refusal(Fixed)
    assert "does not run with fewer channels" in refusal(Joined, round_to=1)
    assert "computes something else with fewer channels" in refusal(Shuffled, round_to=1)
    assert "no layer of which channels can go: 8 of each are kept" in refusal(Narrow)
    assert "out of reach: at most 0.477 can go, as 8 channels" in refusal(Plain, sparsity=0.9)
    reason = Prune(pattern="channels").unsupported(network(Reading)) or ""
    assert "reads the tensor scale itself" in reason
    with pytest.raises(Refused, match="of which there are none"):
        Prune(pattern="channels").compress(network(Plain), Task(task().finetune, lambda count: iter(())))


def test_a_sparsity_is_met_within_two_percent_of_the_whole_or_refused_with_the_nearest_there_is():
    said = re.compile(r"within 2 % of the whole .* the nearest found is (0[.][0-9]+): ask for that")
    chain = trace(nn.Sequential(nn.Flatten(), nn.Linear(75, 16), nn.ReLU(), nn.Linear(16, 5)))  # 16 channels or 8
    met = refused = 0
    for model, shape in ((network(Plain), SHAPE), (chain, (3, 5, 5))):
        for asked in [percent / 100 for percent in range(4, 48, 4)]:
            log: list = []
            try:
                cut(model, shape, log, sparsity=asked)
                met += 1
            except Refused as error:
                asked = float(said.search(str(error))[1])
                cut(model, shape, log, sparsity=asked)
                refused += 1
            assert log[-1].sparsity == pytest.approx(asked, abs=0.02)
    assert met
    assert refused


def test_what_was_compressed_before_is_refused():
    held = Prune(0.5).compress(network(Plain), task())
    assert "is held by a constraint already" in (Prune(pattern="channels").unsupported(held) or "")
    spectral = METHODS["dct"](keep=0.5, calibration=0).compress(network(Wide), task())
    assert "has been replaced already" in (Prune(pattern="channels").unsupported(spectral) or "")


class Siamese(nn.Module):
    """A layer that is called at two places, and may be the first."""

    def __init__(self, width: int, first: bool) -> None:
        super().__init__()
        self.before = nn.Identity() if first else nn.Linear(width, width)
        self.body, self.head = nn.Linear(width, width), nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.body(self.body(self.before(x)).relu()))


def test_layers_called_twice_are_refused_before_training_where_one_call_reads_the_networks_input():
    method = Prune(pattern="channels")
    assert "body is called twice, once on the network's input" in (method.unsupported(trace(Siamese(16, True))) or "")
    assert method.unsupported(trace(Siamese(8, True))) is None  # none of its channels can go
    model = trace(Siamese(16, False))
    small = method.compress(model, Task(lambda model, **_: model.eval(), lambda count: iter([torch.randn(2, 16)])))
    assert small.body.weight.shape == (8, 8)


def test_without_torch_pruning_it_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    assert "torch-pruning is not installed: pip install" in refusal(Plain)
    assert Prune().unsupported(network(Plain)) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pattern": "channels", "schedule": "gradual"}, "schedule=gradual prunes while"),
        ({"pattern": "channels", "preset": "lookahead"}, "has rates of weights, not of channels"),
        ({"pattern": "channels", "rewind": "weights"}, "use rewind=rate"),
        ({"pattern": "channels", "round_to": 0}, "round_to must be at least 1, got 0: "),
        ({"pattern": "channels", "of": "bytes"}, "of must be macs, parameters or channels, got 'bytes'"),
        ({"round_to": 4}, "^round_to=4 is for pattern=channels, got pattern=unstructured"),
        ({"of": "channels"}, "^of=channels is for pattern=channels, got pattern=unstructured"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Prune(**fields)
