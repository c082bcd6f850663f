"""Laws of pruning patterns and layer-wise rates."""

import itertools
import math

import pytest
import torch
from torch import nn

from methods.base import Refused, Task
from methods.graph import trace
from methods.layers import weights
from methods.pruning import Prune
from methods.pruning.patterns import DROPPED, Block, NofM, Unstructured, pattern_of
from methods.pruning.presets import lookahead_rates
from methods.pruning.rates import compound_budgets, compound_kept, global_budgets, normalised, within_budget
from methods.selection import lightest
from tests.drawing import drawn

SHAPES = [(7, 5, 3, 3), (8, 8), (1, 1), (5, 13), (6, 1, 3, 3), (9,), (4, 3, 1, 1), (3, 8, 2)]
UNTRAINED = Task(lambda model, **_: model.eval(), lambda count: iter(()))
PATTERNS = [Unstructured(), NofM(2, 4), NofM(1, 4), NofM(3, 7), Block(4, 4), Block(1, 4), Block(2, 3)]


def ones(shape) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.bool)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_units_are_a_partition_of_the_entries(pattern, shape):
    score = drawn(*shape, seed=1).abs() + 0.1
    _, sizes = pattern.units(score, ones(shape))
    owners = torch.zeros(shape, dtype=torch.int64)
    for unit in range(len(sizes)):
        alone = pattern.entries(torch.arange(len(sizes)) == unit, torch.Size(shape))
        assert int(alone.sum()) == sizes[unit] <= pattern.largest
        owners += alone
    assert (owners == 1).all()


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_a_mask_keeps_to_its_pattern_and_its_budget(pattern, shape, share):
    score = drawn(*shape, seed=2).abs() + 0.1
    budget = round(share * score.numel())
    keep = within_budget(pattern, score, ones(shape), budget)
    follows(pattern, keep)
    dropped = int((~keep).sum())
    bound_to_go = int((~within_budget(pattern, score, ones(shape), 0)).sum())
    assert max(bound_to_go, budget - pattern.largest) < dropped + 1 <= max(bound_to_go, budget) + 1
    assert torch.equal(within_budget(pattern, score, keep, budget), keep)  # once more changes nothing


def follows(pattern, keep: torch.Tensor) -> None:
    """Raises: AssertionError, where a mask breaks its pattern; read off it entry by entry."""
    if isinstance(pattern, NofM) and keep.ndim > 1 and keep.shape[1] >= pattern.m:
        for line in keep.movedim(1, -1).reshape(-1, keep.shape[1]):
            for group in line.split(pattern.m):
                assert group.sum() <= math.ceil(len(group) * pattern.n / pattern.m)
    if isinstance(pattern, Block):
        flat = keep.reshape(keep.shape[0], keep.shape[1] if keep.ndim > 1 else 1, -1)
        for tap in range(flat.shape[2]):
            for rows in flat[:, :, tap].split(pattern.rows):
                for block in rows.split(pattern.columns, dim=1):
                    assert block.all() or not block.any()


@pytest.mark.parametrize("pattern", [NofM(2, 4), Block(2, 3)], ids=str)
def test_a_mask_that_breaks_its_pattern_is_seen(pattern):
    broken = torch.zeros(8, 8, dtype=torch.bool)
    broken[0, :3] = True
    broken[1, 0] = True
    with pytest.raises(AssertionError):
        follows(pattern, broken)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 5)])
def test_of_every_group_the_best_entries_are_kept(n, m):
    score = drawn(3, 2 * m, 2, 2, seed=3).abs()
    keep = within_budget(NofM(n, m), score, ones(score.shape), 0)
    for out, group, row, column in itertools.product(range(3), range(2), range(2), range(2)):
        line = score[out, group * m : (group + 1) * m, row, column]
        chosen = keep[out, group * m : (group + 1) * m, row, column]
        assert set(chosen.nonzero().flatten().tolist()) == set(line.topk(n).indices.tolist())


def test_of_equal_scores_a_group_keeps_no_more_than_it_may():
    keep = within_budget(NofM(2, 4), torch.ones(3, 8), ones((3, 8)), 0)
    assert (keep.view(3, 2, 4).sum(2) == 2).all()


def test_a_layer_with_fewer_inputs_than_a_group_stays_dense():
    assert within_budget(NofM(2, 4), torch.ones(3, 3, 5, 5), ones((3, 3, 5, 5)), 0).all()


def test_what_is_held_already_never_comes_back_and_fills_its_group_last():
    score = torch.tensor([[9.0, 8.0, 7.0, 6.0]])
    keep = torch.tensor([[False, True, True, True]])
    assert within_budget(NofM(2, 4), score, keep, 0).tolist() == [[False, True, True, False]]
    units, _ = Block(1, 4).units(score, torch.zeros_like(keep))
    assert units.tolist() == [DROPPED]


def test_the_lightest_stop_at_the_budget():
    values, sizes = torch.tensor([3.0, 1.0, 2.0, 1.0]), torch.tensor([1, 4, 2, 3])
    assert lightest(values, sizes, 3).tolist() == [False, False, False, False]  # the first is too large already
    assert lightest(values, sizes, 8).tolist() == [False, True, False, True]
    assert lightest(values, sizes, 99).all()
    assert lightest(values, torch.ones(4, dtype=torch.int64), 2).tolist() == [False, True, False, True]


def test_global_budgets_are_those_of_one_threshold():
    scores = [drawn(40, seed=4).abs(), 10 * drawn(7, seed=5).abs()]
    budgets = global_budgets([Unstructured().units(one, ones(one.shape)) for one in scores], 0.5)
    threshold = torch.cat(scores).kthvalue(round(0.5 * 47)).values
    assert budgets == [int((one <= threshold).sum()) for one in scores]


def test_normalised_scores_forget_the_scale_of_a_layer():
    scores = [drawn(40, seed=4).abs(), drawn(9, 3, seed=5).abs()]
    for one, other in zip(normalised(scores), normalised([scores[0], 1000 * scores[1]]), strict=True):
        assert torch.allclose(one, other)
    assert normalised([torch.zeros(3)])[0].tolist() == [0, 0, 0]


MLP = [784 * 500, 500 * 500, 500 * 500, 500 * 500, 500 * 10]


@pytest.mark.parametrize("steps", [1, 4, 7, 9, 10])
def test_a_presets_steps_are_met_exactly_at_their_sparsities(steps):
    rates = [0.5, 0.5, 0.5, 0.5, 0.25]
    sparsity = 1 - compound_kept(MLP, rates, steps) / sum(MLP)
    budgets = compound_budgets(MLP, rates, sparsity)
    assert budgets == [round(size * (1 - (1 - rate) ** steps)) for size, rate in zip(MLP, rates, strict=True)]
    if steps == 9:
        assert round(100 * (1 - sparsity), 2) == 0.23  # the percentage of the paper's table


def test_a_preset_that_spares_layers_says_how_far_it_goes():
    with pytest.raises(ValueError, match=r"never prunes 90 of 100 weights, so a sparsity of 0[.]5"):
        compound_budgets([90, 10], [0.0, 0.5], 0.5)


class Plain(nn.Module):
    def __init__(self, convolutions: int, linear: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(nn.Conv2d(2, 2, 1) for _ in range(convolutions)))
        self.linear = nn.Sequential(*(nn.Linear(2, 2) for _ in range(linear)))

    def forward(self, x):
        return self.linear(self.convs(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("convolutions", "linear", "expected"),
    [
        (0, 5, [0.5, 0.5, 0.5, 0.5, 0.25]),
        (2, 3, [0.2, 0.2, 0.3, 0.3, 0.15]),
        (6, 3, [0.15] * 6 + [0.2, 0.2, 0.1]),
        (8, 1, [0.15] * 8 + [0.1]),
    ],
)
def test_the_presets_rates_by_kind_of_network(convolutions, linear, expected):
    model = trace(Plain(convolutions, linear))
    assert lookahead_rates(model, list(weights(model))) == expected


def entries(model) -> list[torch.Tensor]:
    return [getattr(layer, name).detach() for _, layer, name in weights(model)]


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trace(nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 9), nn.ReLU(), nn.Linear(9, 5)))


@pytest.mark.parametrize("rates", ["global", "normalized", "uniform"])
@pytest.mark.parametrize("pattern", ["unstructured", "block"])
def test_the_sparsity_is_that_of_the_whole(network, rates, pattern):
    settings = {"pattern": "block", "block": "2x2"} if pattern == "block" else {}
    pruned = entries(Prune(0.8, rates=rates, **settings).compress(network, UNTRAINED))
    zeros = sum(int((one == 0).sum()) for one in pruned)
    total = sum(one.numel() for one in pruned)
    largest = 1 if pattern == "unstructured" else 4
    assert 0.8 * total - len(pruned) * largest <= zeros <= 0.8 * total + len(pruned)


def test_uniform_rates_are_the_same_in_each_layer(network):
    for one in entries(Prune(0.75, rates="uniform").compress(network, UNTRAINED)):
        assert int((one == 0).sum()) == round(0.75 * one.numel())


def test_the_random_control_has_the_layer_wise_rates_of_what_it_controls(network):
    ranked = entries(Prune(0.8).compress(network, UNTRAINED))
    control = entries(Prune(0.8, score="random", rates="magnitude").compress(network, UNTRAINED))
    assert [int((one == 0).sum()) for one in control] == [int((one == 0).sum()) for one in ranked]
    assert any(not torch.equal(one == 0, other == 0) for one, other in zip(ranked, control, strict=True))
    assert len({int((one == 0).sum()) / one.numel() for one in ranked}) == 3  # which differ from layer to layer


def test_random_pruning_follows_the_seed_and_nothing_else(network):
    def zeros(seed: int) -> torch.Tensor:
        task = Task(UNTRAINED.finetune, UNTRAINED.calibration, seed=seed)
        return torch.cat([one.flatten() == 0 for one in entries(Prune(0.5, score="random").compress(network, task))])

    first = zeros(1)
    torch.rand(5)
    assert torch.equal(first, zeros(1))
    assert not torch.equal(first, zeros(2))


def test_a_pattern_alone_drops_its_share(network):
    for one in entries(Prune(pattern="2of4").compress(network, UNTRAINED))[:2]:
        assert int((one == 0).sum()) == one.numel() // 2
    further = entries(Prune(0.9, pattern="2of4").compress(network, UNTRAINED))
    total = sum(one.numel() for one in further)
    assert sum(int((one == 0).sum()) for one in further) == round(0.9 * total)
    for one in further:
        follows(NofM(2, 4), one != 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "4of2"}, "1 <= N < M <= 64, got 4of2"),
        ({"pattern": "hexagonal"}, "pattern must be .* got 'hexagonal'"),
        ({"pattern": "block", "block": "four"}, "outputs x inputs as in 4x4, got 'four'"),
        ({"pattern": "block", "block": "1x1"}, "two entries at least, got 1x1"),
        ({"block": "2x2"}, "block=2x2 is for pattern=block"),
        ({"pattern": "2of4", "sparsity": 0.3}, "sets 0.5 of the weights to zero by itself, got sparsity 0.3"),
        ({"pattern": "2of4", "rates": "uniform"}, "^rates=uniform changes nothing where pattern=2of4 alone says"),
        ({"pattern": "1of4", "rates": "random"}, "^rates=random changes nothing"),
        ({"pattern": "2of4", "preset": "lookahead"}, "^preset=lookahead changes nothing"),
        ({"pattern": "2of4", "schedule": "iterative"}, "^schedule=iterative changes nothing"),
        ({"pattern": "2of4", "schedule": "gradual"}, "^schedule=gradual changes nothing"),
        ({"score": "luck"}, "score must be .* got 'luck'"),
        ({"rates": "even"}, "rates must be .* got 'even'"),
        ({"schedule": "daily"}, "schedule must be oneshot, iterative or gradual, got 'daily'"),
        ({"rewind_to": 0.5}, "needs rewind=rate or rewind=weights"),
        ({"rewind": "rate", "schedule": "gradual"}, "cannot rewind"),
        ({"preset": "lookahead", "rates": "uniform"}, "sets the rates of all layers"),
        ({"step": 0.2}, "step=0.2 is for schedule=iterative"),
        ({"step": 1.0, "schedule": "iterative"}, r"step must be in \(0, 1\), got 1.0"),
    ],
)
def test_settings_that_cannot_be_say_why(settings, message):
    with pytest.raises(ValueError, match=message):
        Prune(**settings)


@pytest.mark.parametrize("fields", [{"rates": "uniform"}, {"schedule": "iterative"}, {"schedule": "gradual"}])
def test_beside_a_pattern_and_a_sparsity_rates_and_schedules_count(network, fields):
    assert Prune(0.7, pattern="2of4", **fields).unsupported(network) is None


def test_every_pattern_has_its_name():
    assert pattern_of("2of4", "4x4") == NofM(2, 4)
    assert pattern_of("block", "3x5") == Block(3, 5)
    assert pattern_of("unstructured", "4x4") == Unstructured()


def test_labelled_images_and_the_past_are_refused_where_there_are_none(network):
    with pytest.raises(Refused, match="no labelled images"):
        UNTRAINED.examples(4)
    with pytest.raises(Refused, match="leave rewinding out"):
        Prune(rewind="weights").compress(network, UNTRAINED)
