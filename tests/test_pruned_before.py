"""On a network that was pruned before, `sparsity` is that of the whole, whatever chooses what goes on top."""

import itertools

import pytest
import torch
from torch import nn

from methods.base import Refused, Task
from methods.graph import trace
from methods.layers import original, weights
from methods.pruning import Prune
from methods.pruning.masks import kept
from methods.pruning.patterns import Block
from methods.pruning.rates import compound_budgets, uniform_budgets, within_budget
from tests.drawing import drawn


def moved(model, **_):
    """Stands for training: every stored tensor moves, masked entries too."""
    with torch.no_grad():
        for index, tensor in enumerate(model.parameters()):
            tensor.add_(0.3 * drawn(*tensor.shape, seed=50 + index))
    return model.eval()


TASK = Task(moved, lambda count: iter([drawn(2, 40, seed=9)]))
PATTERNS = {"unstructured": {}, "block": {"pattern": "block"}, "edges": {"pattern": "block", "block": "3x5"}}
RATES = {
    **{name: {"rates": name} for name in ("global", "uniform", "normalized", "random", "lookahead")},
    "preset": {"preset": "lookahead"},
    "forward": {"score": "lookahead_forward"},
}
SPARSITIES = [(0.9, 0.5), (0.9, 0.89), (0.8, 0.0), (0.9, 0.9), (0.5, 0.5), (0.8, 0.9), (0.3, 0.95), (0.9, 0.97)]
CHOICES = list(itertools.product(PATTERNS, RATES))


@pytest.fixture(scope="module")
def network():
    """Layers whose weights differ in scale, so that one threshold takes much of some and little of others."""
    layers = [nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 31), nn.ReLU(), nn.Linear(31, 10)]
    for index, layer in enumerate(layers[::2]):
        with torch.no_grad():
            layer.weight.copy_((1, 3, 9)[index] * drawn(*layer.weight.shape, seed=index))
    return trace(nn.Sequential(*layers))


@pytest.fixture(scope="module")
def once(network):
    """The network pruned by a first stage, each stage made once."""
    made = {}

    def of(first: float, **settings):
        key = (first, *settings.items())
        if key not in made:
            made[key] = Prune(first, **settings).compress(network, TASK)
        return made[key]

    return of


def masks(model) -> list[torch.Tensor]:
    return [kept(layer, name) for _, layer, name in weights(model)]


def zeros(found: list[torch.Tensor]) -> list[int]:
    return [int((~one).sum()) for one in found]


def broken(before, second: Prune) -> list[str]:
    """What of the law `second` breaks on top of `before`: nothing, where it obeys."""
    old, new = masks(before), masks(second.compress(before, TASK))
    gone, zero = sum(zeros(old)), sum(zeros(new))
    asked = second.sparsity * sum(one.numel() for one in old)
    coarse = second.units().largest if second.pattern == "block" else 1
    slack = len(old) / 2 + 0.5  # counts are rounded
    laws = {
        "what is zero stays zero": not any((other & ~one).any() for one, other in zip(old, new, strict=True)),
        "a smaller sparsity changes nothing": asked > gone or zeros(new) == zeros(old),
        "as much is zero as was asked": zero >= max(asked - len(old) * coarse, gone) - slack,
        "no more is zero than was asked": zero <= max(asked, gone) + slack,
    }
    return [law for law, holds in laws.items() if not holds]


@pytest.mark.parametrize("sparsities", SPARSITIES, ids=str)
@pytest.mark.parametrize(("pattern", "rates"), CHOICES)
def test_single_weights_are_followed_by_any(once, sparsities, pattern, rates):
    first, second = sparsities
    assert broken(once(first), Prune(second, **PATTERNS[pattern], **RATES[rates])) == []


@pytest.mark.parametrize("sparsities", SPARSITIES, ids=str)
@pytest.mark.parametrize(("pattern", "rates"), CHOICES)
def test_any_is_followed_by_any_rates(once, sparsities, pattern, rates):
    first, second = sparsities
    before = once(first, **PATTERNS[pattern], **RATES[rates])
    for other in ("global", "uniform", "preset"):
        assert broken(before, Prune(second, **RATES[other])) == []
        assert broken(before, Prune(second, **PATTERNS["block"], **RATES[other])) == []


@pytest.mark.parametrize("schedule", ["iterative", "gradual"])
@pytest.mark.parametrize(("pattern", "rates"), CHOICES)
def test_every_schedule_obeys(once, schedule, pattern, rates):
    for first, second in ((0.8, 0.95), (0.9, 0.5)):
        chosen = Prune(second, schedule=schedule, **PATTERNS[pattern], **RATES[rates])
        assert broken(once(first), chosen) == []


def test_a_method_that_breaks_the_law_is_seen(once):
    """The dense network, or one pruned far beyond what was asked, in the place of what the second stage makes."""

    class Wrong(Prune):
        def compress(self, model, task):
            return once(0.0) if self.score == "random" else once(0.99)

    assert broken(once(0.9), Wrong(0.5)) == ["a smaller sparsity changes nothing", "no more is zero than was asked"]
    assert "what is zero stays zero" in broken(once(0.9), Wrong(0.95, score="random"))
    assert "as much is zero as was asked" in broken(once(0.9), Wrong(0.95, score="random"))


def test_a_layer_that_nothing_prunes_counts_by_what_it_still_holds():
    assert compound_budgets([90, 10], [0.0, 0.5], 0.5, held=[45, 0]) == [45, 5]
    with pytest.raises(ValueError, match="never prunes 55 of 100 weights"):
        compound_budgets([90, 10], [0.0, 0.5], 0.5, held=[35, 0])


def test_uniform_takes_more_of_the_layers_that_have_lost_less():
    assert uniform_budgets([100, 100, 200], 0.5) == uniform_budgets([100, 100, 200], 0.5, [50, 0, 99]) == [50, 50, 100]
    assert uniform_budgets([100, 100, 200], 0.5, [80, 0, 0]) == [80, 40, 80]
    assert uniform_budgets([100, 100, 200], 0.5, [80, 0, 150]) == [80, 0, 150]  # more than asked


def test_a_block_is_worth_and_costs_what_it_still_holds():
    score = torch.tensor([[-9.0, -9.0, -9.0, -9.0, -3.0, -3.0, -3.0, -3.0]])
    keep = torch.tensor([[True, False, False, False, True, True, True, True]])
    means, sizes = Block(1, 4).units(score, keep)
    assert (means.tolist(), sizes.tolist()) == ([-9, -3], [1, 4])
    assert within_budget(Block(1, 4), score, keep, 4).tolist() == [[False] * 4 + [True] * 4]
    assert not within_budget(Block(1, 4), score, keep, 8).any()
    assert torch.equal(within_budget(Block(1, 4), score, keep, 3), keep)


def test_a_stage_that_is_asked_for_less_leaves_every_value_alone(once):
    before = once(0.9)
    still = Task(lambda model, **_: model.eval(), TASK.calibration)
    after = Prune(0.5, pattern="block", rates="uniform").compress(before, still)
    for (_, one, name), (_, other, _) in zip(weights(before), weights(after), strict=True):
        assert torch.equal(getattr(one, name), getattr(other, name))
        assert torch.equal(original(one, name), original(other, name))


@pytest.mark.parametrize("settings", [{}, {"rates": "uniform"}, {"pattern": "block"}, {"schedule": "iterative"}])
def test_a_sparsity_that_leaves_no_weight_is_refused_before_anything_is_trained(network, settings):
    total = sum(original(layer, name).numel() for _, layer, name in weights(network))
    assert total == 4570
    for sparsity in (1 - 0.49 / total, 0.9999999):
        with pytest.raises(Refused, match=rf"a sparsity of {sparsity:.12g} leaves none of its 4,570 weights"):
            Prune(sparsity, **settings).compress(network, TASK)
    assert Prune(1 - 0.6 / total, **settings).unsupported(network) is None


def test_what_a_preset_cannot_reach_is_refused_with_what_was_pruned_before_in_mind(network, monkeypatch):
    """Tensors of rate 0 are never pruned: what they have lost before counts, in the refusal too."""
    monkeypatch.setattr("methods.pruning.masks.lookahead_rates", lambda model, stored: [0.0, 0.5, 0.5])
    preset = Prune(0.5, preset="lookahead")
    assert "never prunes 2400 of 4570 weights" in preset.unsupported(network)
    assert preset.unsupported(Prune(0.3, rates="uniform").compress(network, TASK)) is None
