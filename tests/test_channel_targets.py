"""How many channels go: each target is hit as nearly as the network allows."""

import math

import pytest
import torch

from baselines.nets import build
from bench.measure.macs import macs_of
from methods.graph import modules_called, trace
from methods.pruning.channels import best, counts_for, levels_of
from methods.pruning.dependencies import WEIGHTED
from tests.channels_example import SHAPE, Wide, cut, network

pytest.importorskip("torch_pruning")


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


def test_steps_of_an_iterative_schedule_reach_the_target():
    log: list = []
    small = cut(network(Wide), log=log, schedule="iterative", step=0.3, sparsity=0.6, round_to=1)
    assert [round(one.sparsity, 1) for one in log] == [0.3, 0.5, 0.6]
    assert macs_of(small, SHAPE) == pytest.approx(0.4 * macs_of(network(Wide), SHAPE), rel=0.02)
