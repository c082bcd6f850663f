"""A residual network wide enough that three small products beat one dense one, and images it can tell apart."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from methods import METHODS, CompressionMethod
from methods.base import Task
from methods.graph import trace

SHAPE = (3, 9, 7)  # [c, h, w]
CLASSES = 20
DCT = METHODS["dct"](keep=0.1)


class Wide(nn.Module):
    """Strided, grouped and dilated convolutions, with and without bias, batch norm and sum; two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48)
        self.branch, self.norm = nn.Conv2d(48, 48, 3, padding=2, dilation=2), nn.BatchNorm2d(48)
        self.down = nn.Conv2d(48, 64, 3, stride=2, padding=1)
        self.grouped, self.last_norm = nn.Conv2d(64, 64, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(64)
        self.hidden, self.head = nn.Linear(64 * 5 * 4, 96), nn.Linear(96, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        x = F.relu(self.norm(self.branch(x)) + x)
        x = F.relu(self.down(x))
        x = F.relu(self.last_norm(self.grouped(x)))
        return self.head(F.relu(self.hidden(torch.flatten(x, 1))))


CONVOLUTIONS, LINEARS = 4, 2


def labelled(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy copies of one pattern a class, [n, c, h, w], and the classes [n]."""
    patterns = torch.randn(CLASSES, *SHAPE, generator=torch.Generator().manual_seed(100))
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(CLASSES, (count,), generator=generator)
    return patterns[classes] + 0.4 * torch.randn(count, *SHAPE, generator=generator), classes


def train(
    model: GraphModule,
    *,
    lr_scale: float = 1.0,
    steps: int = 8,
    full: bool = False,
    decay: dict | None = None,
    at_step=lambda done: None,
) -> GraphModule:
    """Stands for the harness's training."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05 * lr_scale, momentum=0.9)
    with torch.enable_grad():
        for step in range(steps):
            x, y = labelled(32, seed=step)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    return model.eval()


def task() -> Task:
    return Task(finetune=train, calibration=lambda count: iter(labelled(256, seed=50)[0][:count].split(64)))


@functools.cache
def dense() -> GraphModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return train(trace(Wide()))


@functools.cache
def result(*then: CompressionMethod) -> GraphModule:
    """What `then` make, one after the other, of the spectral network; not to be changed."""
    if not then:
        return DCT.compress(dense(), task())
    return then[-1].compress(result(*then[:-1]), task())
