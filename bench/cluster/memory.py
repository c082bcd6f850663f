"""How much memory a case takes while it is made: an estimate for Ray's account, which `--needs` can overrule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from bench.job import Job
from methods.graph import trace

_PROCESS = 3 * 2**29  # torch, the libraries and the server that measures: 1.5 GiB
_COPIES = 6  # of the weights: themselves, gradients, momentum, a network beside, what is being written
_ACTIVATIONS = 3  # of the batch: themselves, gradients, what kernels take
_MOST_DATA = 2**31  # of a data set that is held in memory; larger ones stay on disk


def memory_of(job: Job) -> int:
    """Bytes of host memory, roughly, of all processes that the case has; what a GPU holds is not among them."""
    data = sum(job.data.count(part) for part in ("train", "validation", "test")) * math.prod(job.data.input_shape)
    source = job.plan.cases[0].source
    model = trace(job.make_network(source.net["spec"], 0))
    weights = 4 * sum(tensor.numel() for tensor in model.parameters())
    held = _Outputs(model)
    if job.device == "cpu":
        with torch.no_grad():
            held.run(torch.zeros(1, *job.data.input_shape))
    batch = 4 * held.values * source.recipe.batch_size
    processes = 1 if job.processes == 1 else job.processes + 1  # with the one that asks those that train together
    return processes * (_PROCESS + min(data, _MOST_DATA) + _COPIES * weights) + _ACTIVATIONS * batch


class _Outputs(fx.Interpreter):
    """Runs a graph and counts the values that its layers give."""

    values = 0

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = super().call_module(target, args, kwargs)
        self.values += out.numel() if isinstance(out, Tensor) else 0
        return out
