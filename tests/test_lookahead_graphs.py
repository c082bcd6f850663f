"""Lookahead by the real graph: hand counts with shortcuts, concatenation and groups; what is refused."""

import pytest
import torch
from torch import nn

from baselines.nets import build
from methods.base import Pipeline, Refused, Task
from methods.graph import trace
from methods.layers import weights
from methods.pruning import Prune
from methods.pruning.scores import SCORES
from methods.spectral import DCT
from tests.lookahead_example import identity, randomised, scored, task_of


def plain():
    return randomised(nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 7 * 9, 3)))


# Other graphs, counted by hand.


class Residual(nn.Module):
    """stem -> (a -> b) + shortcut -> (c) + identity -> head"""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 3, padding=1)
        self.shortcut, self.c, self.head = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 1), nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.b(self.a(x).relu())
        y += self.shortcut(x)
        z = self.c(y.relu()) + y
        return self.head(z.mean((2, 3)))


def rows(layer):
    """Sum of squares that an output gives."""
    return layer.weight.detach().square().flatten(1).sum(1)


def columns(layer):
    """Sum of squares with which an input is read."""
    return layer.weight.detach().square().transpose(0, 1).flatten(1).sum(1)


def expected_score(layer, before, after):
    square = layer.weight.detach().square()
    tail = [1] * (square.ndim - 2)
    return square * before.view(1, -1, *tail) * after.view(-1, 1, *tail)


def test_shortcuts_are_followed():
    net = randomised(Residual())
    joined = rows(net.b) + rows(net.shortcut)
    read = columns(net.c) + columns(net.head)  # of what the first block gives: by c, and past it by the head
    expected = {
        "stem": expected_score(net.stem, torch.ones(2), columns(net.a) + columns(net.shortcut)),
        "a": expected_score(net.a, rows(net.stem), columns(net.b)),
        "b": expected_score(net.b, rows(net.a), read),
        "shortcut": expected_score(net.shortcut, rows(net.stem), read),
        "c": expected_score(net.c, joined, columns(net.head)),
        "head": expected_score(net.head, joined + rows(net.c), torch.ones(2)),
    }
    torch.testing.assert_close(scored("lookahead", net, (2, 6, 5)), expected, rtol=1e-5, atol=0)


class Concatenating(nn.Module):
    """Depthwise and grouped layers over what is concatenated and split again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 6, 1)
        self.grouped, self.depthwise = nn.Conv2d(10, 4, 1, groups=2), nn.Conv2d(4, 4, 3, groups=4)
        self.head, self.side = nn.Linear(2 * 4 * 3, 3), nn.Linear(2, 3)

    def forward(self, x):
        y = torch.cat([self.a(x), self.b(x)], 1)
        left, right = self.depthwise(self.grouped(y)).chunk(2, 1)
        return self.head(left.flatten(1)) + self.side(right.mean((2, 3)))


def test_concatenation_splits_and_groups_are_followed():
    net = randomised(Concatenating())
    fed = torch.cat([rows(net.a), rows(net.b)])  # [10]
    grouped = net.grouped.weight.detach().square().flatten(1)  # [4, 5]
    read = torch.cat([grouped[:2].sum(0), grouped[2:].sum(0)])  # [10]
    after_depthwise = torch.cat([columns(net.head).view(2, 12).sum(1), columns(net.side)])  # [4]
    before_grouped = torch.stack([fed[:5], fed[:5], fed[5:], fed[5:]])  # [4, 5]
    gives = rows(net.depthwise)
    expected = {
        "a": expected_score(net.a, torch.ones(2), read[:4]),
        "b": expected_score(net.b, torch.ones(2), read[4:]),
        "grouped": (grouped * before_grouped * gives[:, None]).view(4, 5, 1, 1),
        "depthwise": net.depthwise.weight.detach().square() * (rows(net.grouped) * after_depthwise).view(4, 1, 1, 1),
        "head": expected_score(net.head, gives[:2].repeat_interleave(12), torch.ones(3)),
        "side": expected_score(net.side, gives[2:], torch.ones(3)),
    }
    torch.testing.assert_close(scored("lookahead", net, (2, 6, 5)), expected, rtol=1e-5, atol=0)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.b(self.c(self.b(self.a(x.flatten(1)))))


def test_a_layer_that_is_called_twice_counts_at_both_places():
    net = randomised(Twice())
    first = expected_score(net.b, rows(net.a), columns(net.c))
    second = expected_score(net.b, rows(net.c), torch.ones(4))
    torch.testing.assert_close(scored("lookahead", net, (1, 2, 2))["b"], first + second)


# Networks of the literature, and refusals.


@pytest.mark.parametrize(
    "spec", ["resnet8", "resnet18", "densenet121", "mobilenet_v2", "alexnet:width=64", "vgg11", "vgg11_bn", "lenet",
             "squeezenet1_1", "googlenet", "shufflenet_v2_x0_5"]
)  # fmt: skip
def test_networks_of_the_literature_are_scored_to_the_last_tensor(spec):
    scores = scored("lookahead_bn", build(spec, classes=10, input_shape=(3, 32, 32), seed=0), (3, 32, 32))
    for path, score in scores.items():
        assert score.isfinite().all(), path
        assert score.max() > 0, path


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mobilenet_v3_small", "computes mul of activations"),
        ("efficientnet_b0", "computes mul of activations"),
        ("vit_b_16", "lookahead cannot follow channels"),
        ("convnext_tiny", "lookahead cannot follow channels"),
    ],
)
def test_where_channels_mix_in_other_ways_it_is_refused(spec, words):
    model = trace(build(spec, classes=10, input_shape=(3, 32, 32), seed=0))
    reason = Prune(score="lookahead").unsupported(model) or ""
    assert words in reason
    assert "take score=magnitude" in reason
    assert "\n" not in reason


def test_spectral_layers_are_refused_and_so_is_a_task_without_images():
    model = trace(plain())
    with pytest.raises(Refused, match="is a Spectral"):
        Pipeline((DCT(keep=0.5, calibration=0), Prune(score="lookahead"))).compress(model, task_of((2, 9, 11)))
    with pytest.raises(Refused, match="no training images"):
        Prune(score="lookahead").compress(model, Task(identity, lambda count: iter(())))


class Channels(nn.Module):
    def __init__(self, over) -> None:
        super().__init__()
        self.conv, self.over = nn.Conv2d(2, 4, 3, padding=1), over

    def forward(self, x):
        return self.over(self.conv(x)).flatten(1)


@pytest.mark.parametrize("over", [lambda x: x.mean(1), lambda x: nn.functional.pad(x, (0, 0, 0, 0, 1, 1)),
                                  lambda x: x.mean(), lambda x: x.softmax(1)])  # fmt: skip
def test_means_and_padding_over_channels_are_refused(over):
    graph = trace(Channels(over))
    assert SCORES["lookahead"].unsupported(graph, list(weights(graph)))
