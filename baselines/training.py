"""The one loop that trains and fine-tunes.

A run is a function of (model, data, stage's arguments, seed): order, augmentation and dropout of an epoch depend on
(seed, epoch) alone, so a run that was interrupted and resumed from its snapshot equals one left alone, bit for bit, on
the same machine and threads. The last epoch's weights are the result: the rate has come down to zero by then, and
validation is only watched.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from baselines.data.base import ImageData, SplitName
from baselines.precision import autocast_for
from baselines.recipes import Recipe, default_recipe
from baselines.snapshots import Epoch, Running, resume, save
from methods.base import Objective

_START_DIVISOR = 25  # the warm-up begins at peak / 25
_CHECKED_EVERY = 20  # steps between looks at the loss on a GPU, each of which waits for it


class Diverged(RuntimeError):
    """The loss is no longer a number; the message says when and at which learning rate."""


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The rate of `step` (from 0) of `steps`: a line up to `peak` in `warmup * steps`, then half a cosine towards 0."""
    rising = warmup * steps
    if step < rising:
        start = peak / _START_DIVISOR
        return start + (peak - start) * step / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def train(
    model: nn.Module,
    data: ImageData,
    *,
    stage: str,
    epochs: int,
    lr: float,
    recipe: Recipe,
    seed: int,
    decay: Mapping[str, float] | None = None,
    at_step: Callable[[float], None] | None = None,
    penalty: Callable[[float], Tensor] | None = None,
    start: float = 0.0,
    until: float = 1.0,
    objective: Objective | None = None,
    subset: float = 1.0,
    augment: bool = True,
    adam: bool = False,
    device: str = "cpu",
    snapshot: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_batch: Callable[[int, int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[Epoch]:
    """Trains `model` in place, leaves it on `device` in eval mode and returns a line an epoch.

    lr: the peak. recipe: everything but the epochs and the peak. decay: factors on its weight decay, by name of
    parameter. at_step: called before each step with the share of all steps that are done. penalty: added to the loss,
    called with the same share. start, until: shares of the training between which it runs, in whole epochs.
    objective: minimised in place of the cross entropy, which is logged all the same; what it trains beside the model
    is in its snapshots. subset: share of the training images that is used. augment: false leaves augmentation out.
    adam: minimises by Adam (Kingma and Ba 2015, arXiv 1412.6980) in place of SGD, under the same shape of rates.
    snapshot: file kept after each epoch and gone on from.
    on_epoch: called with each epoch trained in this sitting. on_batch: called with (epoch, batches done, batches).
    on_note: called with a line about a snapshot that cannot be used; training then starts over.

    Raises:
        Diverged: the loss is infinite or not a number.
        Refused: the subset leaves a class fewer than two images.
    """
    model.to(device)
    recipe = replace(recipe, augment=recipe.augment and augment)
    data = data.subset(subset) if subset < 1 else data
    beside = (objective and objective.beside) or nn.Identity()
    optimizer = make_optimizer(model, recipe, decay or {}, beside.to(device), adam=adam)
    first, last = round(start * epochs), round(until * epochs)
    run = {"stage": stage, "epochs": epochs, "first": first, "lr": lr, "seed": seed, "recipe": asdict(recipe),
           "subset": subset, "adam": adam}  # fmt: skip
    running = Running(run, model, beside, optimizer)
    logs = resume(snapshot, running, device, on_note or (lambda _: None))
    with _deterministic(recipe.deterministic):
        for number in range(first + len(logs) + 1, last + 1):
            started = time.perf_counter()
            rates = _rates(number, epochs, data.steps(recipe.batch_size), lr, recipe.warmup)
            schedule = _Schedule(rates, number - 1, epochs, at_step or (lambda _: None), penalty)
            loss, accuracy, samples = _train_epoch(
                model, data, optimizer, _forward(model, objective), schedule, recipe, seed, number, device, on_batch
            )
            validation = evaluate(model, data, "validation", device=device)
            seconds = time.perf_counter() - started
            log = Epoch(stage, number, epochs, rates[-1], loss, accuracy, validation, seconds, samples)
            logs.append(log)
            if snapshot:
                save(snapshot, running, logs)
            if on_epoch:
                on_epoch(log)
    model.eval()
    return logs


_Forward = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]  # (images, labels) -> logits, what is minimised


def _forward(model: nn.Module, objective: Objective | None) -> _Forward:
    """What a step computes: the logits, and the objective's loss, None for the cross entropy."""
    if objective is None:
        return lambda images, _: (model(images), None)
    assert isinstance(model, GraphModule), "objectives are for traced networks"
    return functools.partial(objective, model)


def make_optimizer(
    model: nn.Module,
    recipe: Recipe,
    decay: Mapping[str, float] | None = None,
    beside: nn.Module | None = None,
    *,
    adam: bool = False,
) -> torch.optim.Optimizer:
    """SGD over what `model` trains; tensors of one axis (biases, norms) are not decayed.

    decay: factors on the recipe's weight decay, by name of parameter; of one under constraints, the name it had before.
    beside: trained along with the model.
    adam: Adam in place of SGD; the recipe's momentum is not its.
    """
    groups: dict[float, list[nn.Parameter]] = {recipe.weight_decay: [], 0.0: []}
    along = beside.named_parameters(prefix="beside") if beside else ()
    for name, tensor in (*model.named_parameters(), *along):
        if not tensor.requires_grad:
            continue
        plain = name.replace("parametrizations.", "").removesuffix(".original")
        rate = recipe.weight_decay * (decay or {}).get(plain, 1.0) if tensor.ndim > 1 else 0.0
        groups.setdefault(rate, []).append(tensor)
    settings = [{"params": tensors, "weight_decay": rate} for rate, tensors in groups.items()]
    if adam:
        return torch.optim.Adam(settings, lr=recipe.lr)
    return torch.optim.SGD(settings, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _rates(epoch: int, epochs: int, steps: int, peak: float, warmup: float) -> list[float]:
    first = (epoch - 1) * steps
    return [learning_rate(first + step, epochs * steps, peak, warmup) for step in range(steps)]


@dataclass(frozen=True)
class _Schedule:
    """What changes from step to step of one epoch."""

    rates: list[float]  # of its steps
    epochs_done: int
    epochs: int
    at_step: Callable[[float], None]
    penalty: Callable[[float], Tensor] | None = None

    def begin(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Makes ready for `step` of the epoch, from 0."""
        for group in optimizer.param_groups:
            group["lr"] = self.rates[step]
        self.at_step(self._done(step))

    def loss(self, step: int, loss: Tensor) -> Tensor:
        """What is minimised in `step`."""
        return loss if self.penalty is None else loss + self.penalty(self._done(step))

    def _done(self, step: int) -> float:
        return (self.epochs_done + step / len(self.rates)) / self.epochs


def _train_epoch(
    model: nn.Module,
    data: ImageData,
    optimizer: torch.optim.Optimizer,
    forward: _Forward,
    schedule: _Schedule,
    recipe: Recipe,
    seed: int,
    epoch: int,
    device: str,
    on_batch: Callable[[int, int, int], None] | None,
) -> tuple[float, float, int]:
    """One pass over the training part: mean cross entropy, accuracy and number of images, all as trained on."""
    model.train()
    trained = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    loss_sum = torch.zeros((), device=device)  # without the penalty, which would hide how well the images are learned
    minimised = torch.zeros((), device=device)
    correct = torch.zeros((), device=device, dtype=torch.int64)
    samples = 0
    every = 1 if torch.device(device).type == "cpu" else _CHECKED_EVERY
    batches = data.train_batches(recipe.batch_size, device=device, seed=seed, epoch=epoch, augment=recipe.augment)
    with _seeded(seed, epoch, device):
        for step, (images, labels) in enumerate(batches):  # [n, c, h, w], [n]
            schedule.begin(step, optimizer)
            with autocast_for(recipe.precision, device):
                logits, aim = forward(images, labels)  # [n, classes], a number or None
            entropy = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
            loss = schedule.loss(step, entropy if aim is None else aim)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if recipe.clip_norm:
                nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
            optimizer.step()
            loss_sum += entropy.detach() * len(labels)
            minimised += loss.detach()
            correct += (logits.detach().argmax(1) == labels).sum()
            samples += len(labels)
            if (step % every == 0 or step + 1 == len(schedule.rates)) and not math.isfinite(minimised.item()):
                raise Diverged(f"the loss is {loss.item()} in epoch {epoch}, step {step + 1} of {len(schedule.rates)}, "
                               f"at learning rate {schedule.rates[step]:.3g}: pass a smaller --lr")  # fmt: skip
            if on_batch:
                on_batch(epoch, step + 1, len(schedule.rates))
    return loss_sum.item() / max(1, samples), correct.item() / max(1, samples), samples


def evaluate(model: nn.Module, data: ImageData, split: SplitName, *, device: str = "cpu", batch: int = 256) -> float:
    """Share of the part's images classified right, in eval mode and full precision; 0 of an empty part."""
    was_training = model.training
    model.eval()
    correct = torch.zeros((), device=device, dtype=torch.int64)
    with torch.inference_mode():
        for images, labels in data.batches(split, batch, device=device):
            correct += (model(images).argmax(1) == labels).sum()
    model.train(was_training)
    return correct.item() / max(1, data.count(split))


@contextlib.contextmanager
def _seeded(seed: int, epoch: int, device: str) -> Iterator[None]:
    """Dropout's numbers for one epoch; the global generators come back as they were."""
    where = torch.device(device)
    devices = [where.index or 0] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed * 1_000_003 + epoch)
        yield


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


__all__ = ["Diverged", "Epoch", "Recipe", "default_recipe", "evaluate", "learning_rate", "make_optimizer", "train"]
