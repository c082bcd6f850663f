"""Sparse variational dropout: each weight learns how much noise it bears, and those that bear most are pruned.

Idea     Training puts noise of a variance of its own on every weight and prices how little of it there is; weights that
         the data does not need end up as noise around zero, whatever their magnitude was.
Source   Molchanov, Ashukha, Vetrov 2017, arXiv 1701.05369: equations 11 (additive noise), 14 (price) and 9 (noise of
         outputs, after Kingma, Salimans, Welling 2015, arXiv 1506.02557).
Stored   as by `prune`: the positions and the values of the weights that are kept.
Cost     one training as long as the dense network's, each step some two to three times as long, before fine-tuning;
         rows that differ in how much they prune share it.
Fails    short trainings; layers other than convolutions and linear ones are refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Task
from methods.graph import modules_called, replace_module
from methods.layers import CompressedLayer, Mask, constraints, kind_of, original
from methods.pruning.scoring import Score, Stored

_START = -10.0  # log variance that training begins with: all but no noise
_RATE = 1e-3  # of Adam: SGD, whose steps shrink with the price of a weight, leaves twice as many weights
_WARMUP = 0.3  # share of the training in which the price rises to its full height
_MOST = 8.0  # log alpha beyond which the price no longer falls
_LOUDEST = 0.0  # log variance that noise is held under, should a step overshoot
_K = (0.63576, 1.87320, 1.48695)  # of equation 14
_TINY = 1e-8
_NO_NOISE = "and what noise on its numbers does to its outputs is known of convolutions and linear layers alone"


def divergence(log_alpha: Tensor) -> Tensor:
    """The price of each weight in nats: KL divergence of its posterior from the log-uniform prior, up to a constant, by
    equation 14; falls from infinity to 0 as `log_alpha` [...] rises."""
    k1, k2, k3 = _K
    return k1 - k1 * torch.sigmoid(k2 + k3 * log_alpha) + 0.5 * F.softplus(-log_alpha)


class NoisyLayer(nn.Module):
    """A convolution or linear layer whose outputs carry the noise that its weights would, while it is trained.

    Outputs have the mean layer(x) and the variance of sums of independent weights, layer(x^2) with variances for
    weights and no bias (the local reparametrisation). What a mask holds at zero has no noise.
    """

    def __init__(self, layer: nn.Module, generator: torch.Generator) -> None:
        """layer: with a weight under masks at most."""
        super().__init__()
        weight = layer.weight
        assert isinstance(weight, Tensor)
        self.layer, self.generator = layer, generator
        self.keep = torch.ones_like(weight, dtype=torch.bool)
        for one in constraints(layer, "weight"):
            assert isinstance(one, Mask)
            self.keep &= one.keep
        self.masked = not bool(self.keep.all())
        self.log_variance = nn.Parameter(torch.full_like(weight, _START))

    def log_alpha(self) -> Tensor:
        """Log of the noise's variance over the weight's square, [...] as the weight; meaningless where a mask holds."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return self.log_variance - weight.square().clamp_min(_TINY**2).log()

    @torch.no_grad()
    def bound(self) -> None:
        """Takes back noise beyond `_LOUDEST`. A bound on log_alpha would silence each weight that passes through 0."""
        self.log_variance.clamp_(max=_LOUDEST)

    def price(self) -> Tensor:
        """Sum of `divergence` over the weights that no mask holds."""
        log_alpha = self.log_alpha()
        if self.masked:  # picking entries takes longer than all the rest
            log_alpha = log_alpha[self.keep]
        return divergence(log_alpha.clamp(max=_MOST)).sum()

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        mean = self._product(x, weight, self.layer.bias)  # type: ignore[arg-type]
        if not self.training:
            return mean
        variances = self.log_variance.exp() * self.keep
        variance = self._product(x.square(), variances, None)
        noise = torch.randn(mean.shape, generator=self.generator, device=mean.device)
        return mean + (variance.float().clamp_min(0) + _TINY).sqrt() * noise

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, weight, bias)
        assert isinstance(self.layer, nn.Conv1d | nn.Conv2d)
        return self.layer._conv_forward(x, weight, bias)


class Variational(Score):
    """-log(alpha): how little noise a weight bears for its size (arXiv 1701.05369, section 4.2).

    Trains the network with noise for as long as the dense one was trained, and leaves it with the weights found.
    """

    trains: ClassVar[bool] = True
    threshold: ClassVar[float | None] = -3.0  # section 4.3: where noise is some 20 times the weight's square

    def unsupported(self, model: GraphModule, stored: Stored) -> str | None:
        strange = next(((path, layer) for path, layer, _ in stored if isinstance(layer, CompressedLayer)), None)
        return strange and f"{strange[0]} is a {kind_of(strange[1])}, {_NO_NOISE}"

    def __call__(self, model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
        # rows of a sweep differ in how much of one training they prune
        key, made = f"variational {[path for path, _, _ in stored]}", dict[str, GraphModule]()

        def trained() -> GraphModule:
            made["scores"] = _with_scores(model, stored, learned(model, stored, task))
            return model

        def scores() -> GraphModule:
            if not made:  # of a cache that holds the weights alone
                trained()
            return made["scores"]

        weights = task.share(f"{key}, weights", trained)
        ranks = task.share(f"{key}, scores", scores)
        if weights is not model and not made:
            model.load_state_dict(weights.state_dict())
        return [original(ranks.get_submodule(path), name).detach().float() for path, _, name in stored]


def learned(model: GraphModule, stored: Stored, task: Task) -> list[Tensor]:
    """Trains `model` with noise, in place, and returns the scores of the entries of `stored`."""
    images = sum(len(batch) for batch in task.calibration(2**31))
    generator = torch.Generator(task.device)
    noisy = put_noise(model, stored, generator)
    layers = list(dict.fromkeys(noisy.values()))

    def price(done: float) -> Tensor:
        # in full the bound of the paper: a higher price prunes beyond what the images bear, all where they are few
        return min(1.0, done / _WARMUP) / max(1, images) * torch.stack([one.price() for one in layers]).sum()

    task.finetune(
        model,
        full=True,
        adam=_RATE,
        # the price takes its place
        decay={f"{path}.{name}": 0.0 for path in noisy for name in ("layer.weight", "log_variance")},
        at_step=_before_step(layers, generator, task.seed),
        penalty=price,
    )
    for path, one in noisy.items():
        replace_module(model, path, one.layer)
    model.eval().recompile()
    by_layer = {id(one.layer): -one.log_alpha().detach().float() for one in layers}
    return [by_layer[id(layer)] for _, layer, _ in stored]


@torch.no_grad()
def _with_scores(model: GraphModule, stored: Stored, scores: list[Tensor]) -> GraphModule:
    """A copy with scores in the place of the entries of `stored`: networks are what rows can share."""
    changed = copy.deepcopy(model)
    for (path, _, name), score in zip(stored, scores, strict=True):
        original(changed.get_submodule(path), name).copy_(score)
    return changed


def put_noise(model: GraphModule, stored: Stored, generator: torch.Generator) -> dict[str, NoisyLayer]:
    """Puts a `NoisyLayer` in the place of each layer of `stored`, in place; they by path."""
    chosen = {id(layer) for _, layer, _ in stored}
    made: dict[int, NoisyLayer] = {}
    found = {}
    for path, layer in modules_called(model).items():
        if id(layer) in chosen:
            found[path] = made.setdefault(id(layer), NoisyLayer(layer, generator))
            replace_module(model, path, found[path])
    model.recompile()
    return found


def _before_step(layers: list[NoisyLayer], generator: torch.Generator, seed: int) -> Callable[[float], None]:
    """Noise of a step follows from the seed and the share of steps done: training may go on in another process."""

    def at_step(done: float) -> None:
        generator.manual_seed(seed * 1_000_003 + round(done * 2**30))
        for one in layers:
            one.bound()

    return at_step
