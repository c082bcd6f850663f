"""Laws of structured pruning: what is left is an exact part, computes the same, and hits its target."""

import math
import re
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.nets import build
from bench.artifact import load, save, ship
from bench.measure.macs import macs_of
from methods import METHODS
from methods.base import Effect, Pipeline, Refused, Task
from methods.graph import modules_called, trace
from methods.layers import weights
from methods.pruning import Prune
from methods.pruning.channels import best, counts_for, importance_of, levels_of, ranked
from methods.pruning.dependencies import WEIGHTED, find_groups, without
from methods.pruning.scores import SCORES, value
from tests import contract
from tests.drawing import drawn

pytest.importorskip("torch_pruning")

SHAPE = (3, 8, 8)
IMAGES = drawn(2, *SHAPE, seed=1)


class Net(nn.Module):
    """A shortcut, a grouped and a depthwise convolution, a concatenation, a slope per channel, a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.slope = nn.PReLU(16)
        self.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=4)
        self.back = nn.Conv2d(24, 16, 1, bias=False)
        self.depthwise = nn.Conv2d(16, 16, 3, stride=2, groups=16)
        self.side = nn.Conv2d(16, 10, 3, stride=2)
        self.mix = nn.Conv2d(26, 12, 1)
        self.hidden = nn.Linear(12 * 9, 30)
        self.head = nn.Linear(30, 10)

    def forward(self, x):
        x = self.slope(self.norm(self.stem(x)))
        x = x + self.back(F.relu(self.grouped(x)))
        x = torch.cat([F.relu(self.depthwise(x)), self.side(x)], 1)
        return self.head(F.relu(self.hidden(torch.flatten(self.mix(x), 1))))


def network(net=Net):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trace(net())
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
            layer.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    return model


def task(shape=SHAPE, log=None, seed=0):
    def finetune(model, **_):
        return model.eval()

    options = {"log": log.append} if log is not None else {}
    return Task(finetune, lambda count: iter([drawn(min(count, 2), *shape, seed=5)]), seed=seed, **options)


def cut(model=None, shape=SHAPE, log=None, **fields):
    return Prune(pattern="channels", **fields).compress(model or network(), task(shape, log))


def by_first_layer(model):
    return {group.slices[0].path: group for group in find_groups(model, IMAGES)}


def drop(group, channels):
    keep = torch.ones(group.channels, dtype=torch.bool)
    keep[channels] = False
    return keep


# Groups


def test_groups_are_those_of_the_data_flow():
    groups = by_first_layer(network())
    found = {
        name: {(part.path, part.axis, part.index.shape[1]) for part in group.slices} for name, group in groups.items()
    }
    shortcut = {("stem", "outputs", 1), ("norm", "outputs", 1), ("slope", "outputs", 1), ("grouped", "inputs", 1),
                ("back", "outputs", 1), ("depthwise", "outputs", 1), ("side", "inputs", 1),
                ("mix", "inputs", 1)}  # fmt: skip
    assert found == {
        "stem": shortcut,
        "grouped": {("grouped", "outputs", 1), ("back", "inputs", 1)},
        "side": {("side", "outputs", 1), ("mix", "inputs", 1)},
        "mix": {("mix", "outputs", 1), ("hidden", "inputs", 9)},
        "hidden": {("hidden", "outputs", 1), ("head", "inputs", 1)},
    }
    assert {name: (group.channels, group.blocks) for name, group in groups.items()} == {
        "stem": (16, 4), "grouped": (24, 4), "side": (10, 1), "mix": (12, 1), "hidden": (30, 1),
    }  # fmt: skip


def test_what_remains_is_an_exact_part():
    model = network()
    groups = by_first_layer(model)
    gone = {"stem": [0, 5, 9, 15], "grouped": [1, 6, 12, 18], "side": [3], "mix": [1, 2], "hidden": [0, 29]}
    keeps = [drop(group, gone[name]) for name, group in groups.items()]
    small = without(model, list(groups.values()), keeps, IMAGES)
    stem, mid, side, mix, hidden = keeps
    assert torch.equal(small.stem.weight, model.stem.weight[stem])
    assert torch.equal(small.norm.running_var, model.norm.running_var[stem])
    assert torch.equal(small.slope.weight, model.slope.weight[stem])
    assert torch.equal(small.back.weight, model.back.weight[stem][:, mid])
    assert torch.equal(small.depthwise.weight, model.depthwise.weight[stem])
    assert torch.equal(small.head.weight, model.head.weight[:, hidden])
    assert torch.equal(small.mix.weight, model.mix.weight[mix][:, torch.cat([stem, side])])
    assert torch.equal(small.hidden.weight, model.hidden.weight[hidden][:, mix.repeat_interleave(9)])
    for block in range(4):  # of the grouped convolution: 6 outputs of 4 inputs, of which 5 and 3 are left
        rows, columns = mid[6 * block : 6 * block + 6], stem[4 * block : 4 * block + 4]
        part = model.grouped.weight[6 * block : 6 * block + 6][rows][:, columns]
        assert torch.equal(small.grouped.weight[5 * block : 5 * block + 5], part)
    for path, layer in modules_called(small).items():
        if isinstance(layer, WEIGHTED):
            sides = [getattr(layer, name) for name in vars(layer) if name in ("out_channels", "out_features")]
            assert sides == [layer.weight.shape[0]], path


def test_channels_that_nothing_makes_or_reads_can_go_without_a_trace():
    model = network(Plain)
    with torch.no_grad():
        for layer in (model.a, model.b):
            layer.bias.zero_()
        model.a.weight[[2, 7]] = 0
        model.b.weight[:, [2, 7]] = 0
        model.b.weight[[0, 3, 11]] = 0
        model.head.weight.view(10, 16, -1)[:, [0, 3, 11]] = 0
    groups = find_groups(model, IMAGES)
    small = without(model, groups, [drop(groups[0], [2, 7]), drop(groups[1], [0, 3, 11])], IMAGES)
    assert (small.a.out_channels, small.b.in_channels, small.b.out_channels) == (10, 10, 13)
    torch.testing.assert_close(small(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)
    zeroed = Prune(pattern="channels", round_to=1, sparsity=0.1).compress(model, task())
    assert zeroed.a.out_channels <= 12
    assert set(zeroed.a.weight.flatten(1).abs().sum(1).tolist()) <= set(model.a.weight.flatten(1).abs().sum(1).tolist())


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, padding=1)
        self.b = nn.Conv2d(12, 16, 3, stride=2)
        self.head = nn.Linear(16 * 9, 10)

    def forward(self, x):
        return self.head(torch.flatten(F.relu(self.b(F.relu(self.a(x)))), 1))


# Scores


@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_the_least_important_channels_go(score):
    model = network(Plain)
    small = cut(model, round_to=1, score=score, sparsity=0.4)
    stored = list(weights(model))
    a, b, head = SCORES[score](model, stored, task())
    first = a.sum((1, 2, 3)) + b.sum((0, 2, 3))
    second = b.sum((1, 2, 3)) + head.view(10, 16, 9).sum((0, 2))
    for layer, importance in ((small.a, first), (small.b, second)):
        kept = importance.argsort(descending=True)[: layer.out_channels].sort().values
        whole = model.a if layer is small.a else model.b
        assert layer.out_channels < whole.out_channels
        assert torch.equal(layer.bias, whole.bias[kept])


def test_importance_of_grouped_layers_is_a_sum_over_the_slices():
    model = network()
    stored = list(weights(model))
    scores = [value(layer, name).abs() for _, layer, name in stored]
    group = by_first_layer(model)["stem"]
    found = importance_of(group, stored, scores)
    of = {path: score.double() for (path, _, _), score in zip(stored, scores, strict=True)}
    for channel in range(16):
        columns = of["grouped"][6 * (channel // 4) : 6 * (channel // 4) + 6, channel % 4]
        made = of["stem"][channel], of["back"][channel], of["depthwise"][channel]
        read = columns, of["side"][:, channel], of["mix"][:, channel]
        assert found[channel].item() == pytest.approx(sum(float(part.sum()) for part in (*made, *read)))
    assert ranked([group], stored, scores)[0].mean().item() == pytest.approx(1)


@pytest.mark.parametrize("rates", ["global", "normalized"])
def test_the_scale_of_a_layer_does_not_decide_how_much_of_it_goes(rates):
    plain, scaled = network(Plain), network(Plain)
    with torch.no_grad():
        for layer in (scaled.a, scaled.b, scaled.head):
            layer.weight.mul_(100.0)
    small, other = (cut(model, round_to=1, rates=rates) for model in (plain, scaled))
    assert [one.a.out_channels for one in (small, other)] == [small.a.out_channels] * 2
    assert [one.b.out_channels for one in (small, other)] == [small.b.out_channels] * 2


def test_uniform_rates_leave_the_same_share_and_a_score_as_rates_its_numbers():
    model = network(Plain)
    small = cut(model, round_to=1, rates="uniform", of="channels", sparsity=0.25)
    assert small.a.out_channels / 12 == pytest.approx(small.b.out_channels / 16, abs=0.1)
    ranked, control = cut(model, round_to=1), cut(model, round_to=1, score="random", rates="magnitude")
    assert (ranked.a.out_channels, ranked.b.out_channels) == (control.a.out_channels, control.b.out_channels)
    assert not torch.equal(ranked.b.bias, control.b.bias)


# Numbers of channels


@pytest.mark.parametrize(
    ("channels", "blocks", "round_to", "expected"),
    [
        (24, 1, 8, [24, 16, 8]),
        (20, 1, 8, [20, 16, 8]),
        (8, 1, 8, [8]),
        (6, 1, 8, [6]),
        (6, 1, 1, [6, 5, 4, 3, 2, 1]),
        (12, 3, 8, [12, 9]),
        (48, 3, 8, [48, 24]),
        (16, 16, 1, [16]),
    ],
)
def test_levels(channels, blocks, round_to, expected):
    assert levels_of(channels, blocks, round_to) == expected


def test_as_many_channels_are_kept_in_each_run():
    kept = best(torch.tensor([9.0, 8, 7, 6, 1, 2, 3, 4], dtype=torch.float64), 4, 2)
    assert kept.tolist() == [True, True, False, False, False, False, True, True]


def test_counts_come_as_near_as_the_best_of_all_choices_nearly():
    generator = torch.Generator().manual_seed(0)
    levels = [levels_of(count, 1, 8) for count in (32, 48, 24, 64)]
    ranks = [torch.rand(counts[0], generator=generator) for counts in levels]

    def total(kept):
        return float(math.prod(kept[:2]) + kept[1] * kept[2] + kept[2] * kept[3])

    whole = total([counts[0] for counts in levels])
    for share in (0.1, 0.3, 0.5, 0.7):
        for ranking in (ranks, None):
            found = counts_for(levels, ranking, total, (1 - share) * whole, whole)
            assert all(count in counts for count, counts in zip(found, levels, strict=True))
            assert abs(total(found) - (1 - share) * whole) <= 0.05 * whole


def measured(model, of, shape):
    if of == "macs":
        return macs_of(model, shape)
    if of == "parameters":
        return sum(tensor.numel() for tensor in model.parameters())
    layers = [layer for layer in modules_called(model).values() if isinstance(layer, WEIGHTED)]
    return sum(layer.weight.shape[0] for layer in layers)


@pytest.fixture(scope="module")
def nets():
    names = ("resnet18", "vgg11_bn", "mobilenet_v2", "densenet121", "alexnet:width=512")
    return {name: trace(build(name, classes=10, input_shape=(3, 32, 32), seed=0)) for name in names}


@pytest.mark.parametrize("of", ["macs", "parameters", "channels"])
@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet_v2", "densenet121", "alexnet:width=512"])
def test_targets_are_hit_within_two_percent_and_widths_are_multiples_of_eight(nets, name, of):
    model, shape, log = nets[name], (3, 32, 32), []
    target = {"macs": 0.5, "parameters": 0.7, "channels": 0.3}[of]
    small = cut(model, shape, log, of=of, sparsity=target)
    gone = 1 - measured(small, of, shape) / measured(model, of, shape)
    assert abs(gone - target) <= 0.02 * target
    assert log[-1].sparsity == pytest.approx(gone, abs=1e-9)
    before = modules_called(model)
    for path, layer in modules_called(small).items():
        if isinstance(layer, WEIGHTED):
            assert layer.weight.shape[0] in (before[path].weight.shape[0], 8 * (layer.weight.shape[0] // 8)), path


@pytest.mark.parametrize("layers", ["conv", "linear"])
def test_the_scope_bounds_what_is_cut(layers):
    model = network(Wide)
    small = cut(model, layers=layers, round_to=1, of="parameters", sparsity=0.5)
    assert (small.a.out_channels < 32) == (layers == "conv")
    assert (small.hidden.out_features < 40) == (layers == "linear")


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 32, 3)
        self.b = nn.Conv2d(32, 32, 3)
        self.hidden = nn.Linear(32, 40)
        self.head = nn.Linear(40, 10)

    def forward(self, x):
        return self.head(F.relu(self.hidden(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)))))


def test_steps_of_an_iterative_schedule_reach_the_target():
    log: list = []
    small = cut(network(Wide), log=log, schedule="iterative", step=0.3, sparsity=0.6, round_to=1)
    assert [round(one.sparsity, 1) for one in log] == [0.3, 0.5, 0.6]
    assert macs_of(small, SHAPE) == pytest.approx(0.4 * macs_of(network(Wide), SHAPE), rel=0.02)


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
def test_channels_are_cut_before_anything_else(name):
    first, other = Prune(pattern="channels"), METHODS[name]()
    assert first.effect is Effect.REMOVES_CHANNELS
    Pipeline((first, other))
    with pytest.raises(ValueError, match="it would cut channels of"):
        Pipeline((other, first))


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
