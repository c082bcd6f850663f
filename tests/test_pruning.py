"""Laws of magnitude pruning."""

import math

import pytest
import torch
from torch import nn

from methods.base import Pipeline, Refused, Task
from methods.graph import trace
from methods.layers import Constraint, Mask, constrain, constraints, original, weights
from methods.pruning import Prune
from methods.spectral import DCT


def identity(model, *, lr_scale=1.0, full=False, decay=None):
    return model.eval()


def noisy(model, *, lr_scale=1.0):
    """Stands for training: every stored tensor moves, masked entries too."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator))
    return model.eval()


TASK, MOVING = Task(identity, lambda count: iter(())), Task(noisy, lambda count: iter(()))


class Grid(Constraint):
    """A constraint that is not a mask."""

    def config(self):
        return {}

    def forward(self, tensor):
        return tensor.round()

    def shipped(self, tensor):
        return self(tensor), None


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 7, 3)
        self.norm = nn.BatchNorm2d(7)
        self.grouped = nn.Conv2d(7, 14, 1, groups=7)
        self.head = nn.Linear(14, 5)

    def forward(self, x):
        return self.head(self.grouped(self.norm(self.conv(x)).relu()).mean((2, 3)))


@pytest.fixture
def network():
    model, generator = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return trace(model)


def entries(model, layers="all") -> torch.Tensor:
    return torch.cat([getattr(layer, name).detach().flatten() for _, layer, name in weights(model, layers)])


@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.5, 0.9, 0.99])
def test_exactly_the_fraction_is_zero_and_only_the_smallest_are(network, sparsity):
    before, after = entries(network), entries(Prune(sparsity).compress(network, TASK))
    kept = after != 0
    assert (~kept).sum() == round(sparsity * before.numel())
    assert torch.equal(after[kept], before[kept])
    if (~kept).any():
        assert before[~kept].abs().max() <= before[kept].abs().min()


@pytest.mark.parametrize("sparsity", [0.1, 0.37, 0.9])
def test_the_count_is_exact_when_all_magnitudes_are_equal(network, sparsity):
    with torch.no_grad():
        for _, layer, name in weights(network):
            getattr(layer, name).sign_()
    after = entries(Prune(sparsity).compress(network, TASK))
    assert (after == 0).sum() == round(sparsity * after.numel())


def test_zeros_stay_while_the_rest_is_trained(network):
    still, moved = (Prune(0.7).compress(network, task) for task in (TASK, MOVING))
    assert torch.equal(entries(still) == 0, entries(moved) == 0)
    assert (entries(still) != entries(moved)).sum() == (entries(still) != 0).sum()


@pytest.mark.parametrize("layers", ["conv", "linear"])
def test_the_scope_bounds_what_is_pruned(network, layers):
    other = {"conv": "linear", "linear": "conv"}[layers]
    after = Prune(0.5, layers=layers).compress(network, TASK)
    assert (entries(after, layers) == 0).sum() == round(0.5 * entries(after, layers).numel())
    assert (entries(after, other) != 0).all()


@pytest.mark.parametrize(("first", "second"), [(0.3, 0.8), (0.8, 0.3), (0.6, 0.6), (0.9, 0.0)])
def test_pruning_again_only_ever_prunes_more(network, first, second):
    once = Prune(first).compress(network, MOVING)  # entries under the mask have grown by now
    twice = Prune(second).compress(once, MOVING)
    total = entries(network).numel()
    assert (entries(twice)[entries(once) == 0] == 0).all()
    assert (entries(twice) == 0).sum() == max(round(first * total), round(second * total))
    for _, layer, name in weights(twice):
        assert [type(one) for one in constraints(layer, name)] == [Mask]


def test_pruning_again_leaves_the_earlier_masks_alone(network):
    once = Prune(0.3).compress(network, TASK)
    before = entries(once).clone()
    Prune(0.8).compress(once, TASK)
    assert torch.equal(entries(once), before)


def test_coefficients_are_pruned_and_the_savings_multiply(network):
    chain = Pipeline((DCT(keep=0.5, calibration=0), Prune(0.6)))
    coefficients = entries(DCT(keep=0.5, calibration=0).compress(network, TASK))
    after = entries(chain.compress(network, TASK))
    assert after.numel() == coefficients.numel() <= 0.5 * entries(network).numel() + 14  # 1 x 2 groups keep 1 of 2
    assert (after != 0).sum() == after.numel() - round(0.6 * after.numel())


def test_biases_and_norms_are_not_pruned(network):
    after = Prune(0.99).compress(network, TASK)
    assert (after.head.bias != 0).all()
    assert (after.norm.weight != 0).all()


def test_what_is_under_the_mask_is_the_old_value(network):
    after = Prune(0.5).compress(network, TASK)
    assert torch.equal(original(after.head, "weight"), network.head.weight)


def test_reasons_for_a_refusal(network):
    assert "no conv or linear layer" in (Prune().unsupported(trace(nn.Sequential(nn.ReLU()))) or "")
    assert "no conv layer" in (Prune(layers="conv").unsupported(trace(nn.Sequential(nn.Linear(2, 2)))) or "")
    assert Prune().unsupported(network) is None

    constrain(network.head, "weight", Grid())
    assert "head.weight is held by a Grid already" in (Prune().unsupported(network) or "")
    with pytest.raises(Refused, match="Prune cannot run on this network"):
        Prune().compress(network, TASK)
    assert Prune(layers="conv").unsupported(network) is None


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, math.nan])
def test_a_fraction_out_of_range_says_what_to_do(sparsity):
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\), got .*: pass the fraction of weights"):
        Prune(sparsity)


def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="layers must be all, conv or linear, got 'fc'"):
        Prune(layers="fc")
