"""A network with all that cutting channels has to get right, and a task to cut it with."""

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Task
from methods.graph import trace
from methods.pruning import Prune
from methods.pruning.dependencies import find_groups
from tests.drawing import drawn

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


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, padding=1)
        self.b = nn.Conv2d(12, 16, 3, stride=2)
        self.head = nn.Linear(16 * 9, 10)

    def forward(self, x):
        return self.head(torch.flatten(F.relu(self.b(F.relu(self.a(x)))), 1))


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 32, 3)
        self.b = nn.Conv2d(32, 32, 3)
        self.hidden = nn.Linear(32, 40)
        self.head = nn.Linear(40, 10)

    def forward(self, x):
        return self.head(F.relu(self.hidden(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)))))
