"""What the tests of lookahead share: networks with random values, and the scores of their tensors by path."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.base import Task
from methods.graph import trace
from methods.layers import weights
from methods.pruning.scores import SCORES
from tests.drawing import drawn


def identity(model, *, lr_scale=1.0, full=False, decay=None):
    return model.eval()


def task_of(shape, count=32) -> Task:
    return Task(identity, lambda most: iter(drawn(min(count, most), *shape, seed=5).split(8)))


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Values of which no two are alike, batch norms among them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        for name, tensor in model.named_buffers():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.eval()


def scored(name: str, model: nn.Module, shape) -> dict[str, Tensor]:
    graph = trace(model)
    stored = list(weights(graph))
    assert SCORES[name].unsupported(graph, stored) is None
    scores = SCORES[name](graph, stored, task_of(shape))
    assert [one.shape for one in scores] == [getattr(layer, name).shape for _, layer, name in stored]
    return {path: score for (path, _, _), score in zip(stored, scores, strict=True)}
