"""Laws of cutting channels: what is left is an exact part, and the least important goes."""

import pytest
import torch

from methods.graph import modules_called
from methods.layers import weights
from methods.pruning import Prune
from methods.pruning.channels import importance_of, ranked
from methods.pruning.dependencies import WEIGHTED, find_groups, without
from methods.pruning.scores import SCORES, value
from tests.channels_example import IMAGES, Plain, by_first_layer, cut, drop, network, task

pytest.importorskip("torch_pruning")


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
