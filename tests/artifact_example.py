"""A small network with everything in it that files find hard, and constraints that quantise, for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from bench.measure.memory import Watch
from methods.graph import trace
from methods.layers import Constraint, Mask, constrain

METADATA: dict[str, Any] = {
    "net": "residual",
    "mean": [0.1, 1e-300],
    "classes": 5,
    "data": {"dir": None, "größe": True},
}
IMAGES = torch.randn(3, 3, 9, 9, generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """A shared activation, a layer called twice, tied weights, a class token, dropout, and norms of every fate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.again = nn.Conv2d(8, 8, 3, padding="same", groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.activation = nn.ReLU()
        self.drop = nn.Dropout(0.5)
        self.left, self.right = nn.Linear(8, 8), nn.Linear(8, 8)
        self.right.weight = self.left.weight
        self.token = nn.Parameter(torch.randn(1, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.stem(x))
        x = self.norm(self.again(self.again(x)) + x)
        x = self.drop(self.activation(x)).mean((2, 3)) + self.token
        return self.head(self.right(self.drop(self.left(x))))


def network(seed: int = 0) -> GraphModule:
    torch.manual_seed(seed)
    model = Residual()
    for _ in range(3):
        model(torch.randn(8, 3, 9, 9))  # statistics other than the initial ones
    return trace(model)


def in_training_form() -> GraphModule:
    """Masked, quantised, with a frozen tensor."""
    model = network()
    for path in ("stem.0", "head"):
        layer = model.get_submodule(path)
        constrain(layer, "weight", Mask.of(torch.rand(layer.weight.shape) < 0.3))
    constrain(model.get_submodule("head"), "weight", Grid(3))
    model.get_submodule("left").bias.requires_grad_(False)
    return model


class Grid(Constraint):
    """A quantiser of one step for the whole tensor: int8 codes and `FromGrid` are its shipped form."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def config(self) -> dict[str, int]:
        return {"bits": self.bits}

    def forward(self, tensor: Tensor) -> Tensor:
        codes, reader = self.shipped(tensor)
        return reader(codes)

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint]:
        reader = FromGrid()
        reader.step.copy_(tensor.detach().abs().max() / (2 ** (self.bits - 1) - 1))
        return torch.round(tensor / reader.step).to(torch.int8), reader


class FromGrid(Constraint):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(1.0))

    def config(self) -> dict[str, int]:
        return {}

    def forward(self, tensor: Tensor) -> Tensor:
        return tensor.float() * self.step

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint]:
        return tensor, self


class Forgetful(Grid):
    """Ships codes without the reader they need."""

    def shipped(self, tensor: Tensor) -> tuple[Tensor, Constraint | None]:
        return super().shipped(tensor)[0], None

    def forward(self, tensor: Tensor) -> Tensor:
        codes, reader = super().shipped(tensor)
        return reader(codes)


def taken_since(watched: Watch) -> int:
    """The most memory, in bytes, that was taken since `watch()`; 0 where the system cannot set the mark back."""
    return watched.peak_bytes() - watched.baseline_bytes if watched.reset else 0
