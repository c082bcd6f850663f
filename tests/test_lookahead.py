"""Lookahead scores: the published formula on chains, the laws of what they mean, and one layer after the other."""

import copy

import pytest
import torch
from torch import Tensor, nn

from methods.graph import trace
from methods.layers import weights
from methods.pruning import Prune
from tests.drawing import drawn
from tests.lookahead_example import randomised, scored, task_of

# The published formula, written out for chains.


def published(chain: list[Tensor], factors: list[Tensor | None] | None = None) -> list[Tensor]:
    """Scores of the weights of a chain, [out, in, ...] each, a linear one after a convolution taking each channel's
    positions one after the other. factors: of the batch norm after each layer, to be squared."""
    scores = []
    for i, weight in enumerate(chain):
        score = weight**2
        if i > 0:
            before = (chain[i - 1] ** 2).flatten(1).sum(1)
            if factors and factors[i - 1] is not None:
                before = before * factors[i - 1] ** 2
            before = before.repeat_interleave(weight.shape[1] // len(before))
            score = score * before.view(1, -1, *[1] * (weight.ndim - 2))
        if i + 1 < len(chain):
            after = (chain[i + 1] ** 2).transpose(0, 1).flatten(1).sum(1)
            after = after.view(len(weight), -1).sum(1)
            if factors and factors[i] is not None:
                after = after * factors[i] ** 2
            score = score * after.view(-1, *[1] * (weight.ndim - 1))
        scores.append(score)
    return scores


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 4))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(5, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 2 * 2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3),
    )  # fmt: skip


CHAINS = [(mlp, (3, 2, 2)), (convolutional, (2, 9, 11))]


def chain_of(model):
    return [layer.weight.detach() for layer in model if isinstance(layer, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize(("make", "shape"), CHAINS)
def test_on_a_chain_it_is_the_published_formula(make, shape):
    model = randomised(make())
    for score, expected in zip(scored("lookahead", model, shape).values(), published(chain_of(model)), strict=True):
        torch.testing.assert_close(score, expected, rtol=1e-5, atol=0)


def test_batch_norms_multiply_on_both_sides():
    model = randomised(convolutional())
    norms = [layer for layer in model if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    factors = [(one.weight / (one.running_var + one.eps).sqrt()).detach() for one in norms]
    expected = published(chain_of(model), [*factors, None])
    for score, one in zip(scored("lookahead_bn", model, (2, 9, 11)).values(), expected, strict=True):
        torch.testing.assert_close(score, one, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("make", "shape"), CHAINS)
def test_activation_rates_scale_the_weights_by_their_roots(make, shape):
    model = randomised(make())
    x, rates = next(iter(drawn(32, *shape, seed=5).split(32))), []
    with torch.no_grad():
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.ReLU | nn.Tanh):
                rates.append((x > 0).float().mean((0, 2, 3) if x.ndim == 4 else 0))
    *hidden, last = chain_of(model)
    scaled = [w * r.sqrt().view(-1, *[1] * (w.ndim - 1)) for w, r in zip(hidden, rates, strict=True)]
    for score, one in zip(scored("lookahead_act", model, shape).values(), published([*scaled, last]), strict=True):
        torch.testing.assert_close(score, one, rtol=1e-4, atol=1e-7)


# What a score of this kind must not depend on.


@pytest.mark.parametrize("name", ["lookahead", "lookahead_bn", "lookahead_act"])
def test_reordering_hidden_units_reorders_the_scores(name):
    net, order = randomised(convolutional()), torch.tensor([3, 0, 4, 1, 2])
    other = copy.deepcopy(net)
    with torch.no_grad():
        for tensor, moved in ((net[0], other[0]), (net[1], other[1])):
            for key, entry in tensor.state_dict().items():
                if entry.ndim:
                    moved.state_dict()[key].copy_(entry[order])
        other[4].weight.copy_(net[4].weight[:, order])
    before, after = (scored(name, one, (2, 9, 11)) for one in (net, other))
    torch.testing.assert_close(after["0"], before["0"][order])
    torch.testing.assert_close(after["4"], before["4"][:, order])
    torch.testing.assert_close(after["8"], before["8"])


def test_scale_moved_from_a_layer_to_the_next_changes_no_score_of_the_two_unlike_magnitude():
    net = randomised(mlp())
    other = copy.deepcopy(net)
    scale = torch.linspace(0.1, 7, 9)
    with torch.no_grad():
        other[1].weight.mul_(scale[:, None])
        other[3].weight.div_(scale)
    before, after = (scored("lookahead", one, (3, 2, 2)) for one in (net, other))
    for path in ("1", "3"):
        torch.testing.assert_close(after[path], before[path])
    assert not torch.allclose(*(scored("magnitude", one, (3, 2, 2))["1"] for one in (net, other)))


# One layer after the other.


@pytest.mark.parametrize(("name", "step"), [("lookahead_forward", 1), ("lookahead_backward", -1)])
def test_layers_are_scored_when_those_before_them_are_pruned(name, step):
    model = randomised(mlp())
    chain = chain_of(model)
    for i in range(3)[::step]:
        score, shape = published(chain)[i].flatten(), chain[i].shape
        kept = torch.where(score > score.sort().values[round(0.7 * len(score)) - 1], chain[i].flatten(), 0)
        chain[i] = kept.view(shape)
    after = Prune(0.7, score=name, rates="uniform").compress(trace(model), task_of((3, 2, 2)))
    for (_, layer, tensor), expected in zip(weights(after), chain, strict=True):
        assert torch.equal(getattr(layer, tensor), expected)
    at_once = Prune(0.7, score="lookahead", rates="uniform").compress(trace(model), task_of((3, 2, 2)))
    assert any(not torch.equal(a.weight, b.weight) for (_, a, _), (_, b, _) in
               zip(weights(after), weights(at_once), strict=True))  # fmt: skip


@pytest.mark.parametrize("rates", ["global", "normalized", "uniform", "magnitude"])
def test_the_count_is_exact_layer_after_layer(rates):
    model = trace(randomised(convolutional()))
    after = Prune(0.6, score="lookahead_forward_bn", rates=rates).compress(model, task_of((2, 9, 11)))
    zeros = sum(int((getattr(layer, name) == 0).sum()) for _, layer, name in weights(after))
    total = sum(getattr(layer, name).numel() for _, layer, name in weights(after))
    assert abs(zeros - 0.6 * total) <= len(list(weights(after)))
