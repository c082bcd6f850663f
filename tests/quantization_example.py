"""Small networks whose data flow tries the placement of quantisers, and a task to calibrate them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Task
from methods.graph import trace

SHAPE = (2, 9, 7)  # [c, h, w]


class Residual(nn.Module):
    """The sum of a branch and a shortcut, each with batch norm, twice; mean pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.branch, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.shortcut, self.down = nn.Conv2d(8, 12, 1, stride=2), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.relu, self.pool, self.head = nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem_norm(self.stem(x)))
        x = self.relu(self.norm(self.branch(x)) + x)
        x = self.relu(self.down(x) + self.shortcut(x))
        return self.head(torch.flatten(self.pool(x), 1))


class Concatenating(nn.Module):
    """As in DenseNet: norm, ReLU, convolution; what comes out joins what went in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.grow, self.join_norm = nn.Conv2d(6, 4, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.last, self.pool, self.head = nn.Conv2d(10, 8, 1, bias=False), nn.AvgPool2d(2), nn.Linear(8 * 4 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.grow(F.relu(self.norm(x)))], 1)
        x = self.pool(self.last(F.relu(self.join_norm(x))))
        return self.head(x.flatten(1))


class Depthwise(nn.Module):
    """As in MobileNet v2: expand, depthwise, linear bottleneck and a sum without ReLU after it; ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 12, 1)
        self.depthwise, self.norm = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12)
        self.project, self.after = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 8, 1)
        self.relu6, self.dropout, self.head = nn.ReLU6(), nn.Dropout(0.2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.relu6(self.norm(self.depthwise(self.relu6(self.expand(x))))))
        x = self.relu6(self.after(x)).mean([2, 3])
        return self.head(self.dropout(x))


class Plain(nn.Module):
    """As LeNet, AlexNet and VGG: pooling on the grid, flatten, dropout, a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = nn.Conv2d(2, 6, 3, padding=1), nn.MaxPool2d(2)
        self.twice, self.relu = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.drop, self.hidden, self.head = nn.Dropout(), nn.Linear(6 * 4 * 3, 11), nn.Linear(11, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.first(x)))
        x = self.relu(self.twice(self.relu(self.twice(x))))
        return self.head(self.relu(self.hidden(self.drop(torch.flatten(x, 1)))))


KINDS: tuple[type[nn.Module], ...] = (Residual, Concatenating, Depthwise, Plain)
CONVOLUTIONS = {Residual: 4, Concatenating: 3, Depthwise: 5, Plain: 3}  # calls
LINEARS = {Residual: 1, Concatenating: 1, Depthwise: 1, Plain: 2}


def images(count: int = 24, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def network(kind: type[nn.Module], seed: int = 0) -> GraphModule:
    """Traced, with batch norms that have seen images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.5, 0.5)
                layer.momentum = None
        model.train()(images(32, seed=1))
    return trace(model)


def task(finetune=None) -> Task:
    return Task(finetune=finetune, calibration=lambda count: iter(images(64)[:count].split(16)))


def train_a_little(
    model: GraphModule,
    *,
    lr_scale: float = 1.0,
    steps: int = 4,
    full: bool = False,
    decay: dict | None = None,
    at_step=lambda done: None,
) -> GraphModule:
    """Stands for the harness's fine-tuning."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * lr_scale, momentum=0.9)
    x, y = images(16, seed=3), torch.arange(16) % 5
    for step in range(steps):
        at_step(step / steps)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()
