"""The one loop that trains and fine-tunes.

A run is a function of (model, data, stage's arguments, seed): order, augmentation and dropout of an epoch depend on
(seed, epoch) alone, so a run that was interrupted and resumed from its snapshot equals one left alone, bit for bit, on
the same machine and threads. The last epoch's weights are the result: the rate has come down to zero by then, and
validation is only watched.

Several processes may train together (`baselines.world`): each takes its part of every batch, gradients are those of the
whole batch, and dropout of an epoch depends on the process too.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from baselines.collector import collector_off
from baselines.data.base import ImageData, SplitName, bounds
from baselines.recipes import Recipe, default_recipe
from baselines.snapshots import Epoch, Running, resume, save
from baselines.steps import Schedule, Step, learning_rate, rates_of
from baselines.world import ALONE, World
from methods.base import Objective, Refused

_RANKS_APART = 2_654_435_761  # between seeds of processes: far from others in the 32 bits that torch takes of them
_CHECKED_EVERY = 20  # steps between looks at the loss on a GPU, each of which waits for it


class Diverged(RuntimeError):
    """The loss is no longer a number; the message says when and at which learning rate."""


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
    world: World = ALONE,
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
    world: the processes that train together, each of which calls this; the first one's snapshot and log count.
    snapshot: file kept after each epoch and gone on from.
    on_epoch: called with each epoch trained in this sitting. on_batch: called with (epoch, batches done, batches).
    on_note: called with a line about a snapshot that cannot be used; training then starts over.

    Raises:
        Diverged: the loss is infinite or not a number.
        Refused: the subset leaves a class fewer than two images, or a process fewer than two of a batch.
    """
    model.to(device)
    recipe = replace(recipe, augment=recipe.augment and augment)
    data = data.subset(subset) if subset < 1 else data
    if reason := too_few_for_all(data.count("train"), recipe.batch_size, world.size):
        raise Refused(reason)
    beside = (objective and objective.beside) or nn.Identity()
    optimizer = make_optimizer(model, recipe, decay or {}, beside.to(device), adam=adam)
    first, last = round(start * epochs), round(until * epochs)
    run = {"stage": stage, "epochs": epochs, "first": first, "lr": lr, "seed": seed, "recipe": asdict(recipe),
           "subset": subset, "adam": adam}  # fmt: skip
    running = Running(run, model, beside, optimizer)
    logs = _resumed(snapshot, running, device, world, on_note or (lambda _: None))
    computed = Step(model, beside, objective, recipe, device, penalty)
    averaged = world.averaging(computed) if first + len(logs) < last else computed
    with _deterministic(recipe.deterministic):
        for number in range(first + len(logs) + 1, last + 1):
            started = time.perf_counter()
            rates = rates_of(number, epochs, data.steps(recipe.batch_size), lr, recipe.warmup)
            schedule = Schedule(rates, number - 1, epochs, at_step or (lambda _: None))
            model.train()
            loss, accuracy, samples = _train_epoch(
                averaged, data, optimizer, schedule, recipe, seed, number, device, world, on_batch
            )
            world.copy_first(model)
            validation = evaluate(model, data, "validation", device=device, world=world)
            seconds = time.perf_counter() - started
            log = Epoch(stage, number, epochs, rates[-1], loss, accuracy, validation, seconds, samples)
            logs.append(log)
            if snapshot:
                if world.first:
                    save(snapshot, running, logs)
                world.wait()
            if on_epoch:
                on_epoch(log)
    model.eval()
    return logs


def too_few_for_all(images: int, batch_size: int, processes: int) -> str | None:
    """The reason why so many processes cannot share each batch of an epoch, or None: one image has no statistics."""
    smallest = min((end - begin for begin, end in bounds(images, batch_size)), default=0)
    if processes == 1 or smallest >= 2 * processes:
        return None
    return (
        f"{processes} processes cannot share batches of {smallest} images, two at least for each: take fewer processes"
        " or larger batches"
    )


def _resumed(
    snapshot: Path | None, running: Running, device: str, world: World, on_note: Callable[[str], None]
) -> list[Epoch]:
    """As `resume`, where the first process says whether the snapshot is gone on from."""
    logs: list[Epoch] = []

    def seen() -> int:
        logs.extend(resume(snapshot, running, device, on_note))
        return len(logs)

    count = world.agreed(seen)
    if count and not world.first:
        logs = resume(snapshot, running, device, on_note)
    if len(logs) != count:
        raise RuntimeError(f"{snapshot} can be read by one process and not by another: delete it and run again")
    return logs


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
    with collector_off():  # which torch would do in the constructor of its first optimizer
        import torch._dynamo
    if adam:
        return torch.optim.Adam(settings, lr=recipe.lr)
    return torch.optim.SGD(settings, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _train_epoch(
    compute: nn.Module,
    data: ImageData,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    recipe: Recipe,
    seed: int,
    epoch: int,
    device: str,
    world: World,
    on_batch: Callable[[int, int, int], None] | None,
) -> tuple[float, float, int]:
    """One pass over the training part: mean cross entropy, accuracy and number of images, all as trained on."""
    trained = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    loss_sum = torch.zeros((), device=device)  # without the penalty, which would hide how well the images are learned
    minimised = torch.zeros((), device=device)
    correct = torch.zeros((), device=device, dtype=torch.int64)
    samples = 0
    every = 1 if torch.device(device).type == "cpu" else _CHECKED_EVERY
    batches = data.train_batches(
        recipe.batch_size, device=device, seed=seed, epoch=epoch, augment=recipe.augment, part=world.part
    )
    sizes = [end - begin for begin, end in bounds(data.count("train"), recipe.batch_size)]
    with _seeded(seed, epoch, world.rank, device):
        for step, (images, labels) in enumerate(batches):  # [n, c, h, w], [n]
            done = schedule.begin(step, optimizer)
            weight = world.size * len(labels) / sizes[step]  # so that the mean over processes is that over the batch
            loss, entropy, logits = compute(images, labels, done, weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if recipe.clip_norm:
                nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
            optimizer.step()
            loss_sum += entropy * len(labels)
            minimised += loss.detach()
            correct += (logits.argmax(1) == labels).sum()
            samples += len(labels)
            if (step % every == 0 or step + 1 == len(schedule.rates)) and not math.isfinite(minimised.item()):
                raise Diverged(f"the loss is {loss.item()} in epoch {epoch}, step {step + 1} of {len(schedule.rates)}, "
                               f"at learning rate {schedule.rates[step]:.3g}: pass a smaller --lr")  # fmt: skip
            if on_batch:
                on_batch(epoch, step + 1, len(schedule.rates))
    world.total(loss_sum, correct)
    samples = sum(sizes) if world.size > 1 else samples
    return loss_sum.item() / max(1, samples), correct.item() / max(1, samples), samples


def evaluate(
    model: nn.Module,
    data: ImageData,
    split: SplitName,
    *,
    device: str = "cpu",
    batch: int = 256,
    world: World = ALONE,
) -> float:
    """Share of the split's images classified right, in eval mode and full precision; 0 of an empty one.

    world: processes that share the batches, each of which calls this and gets the share of all images.
    """
    was_training = model.training
    model.eval()
    correct = torch.zeros((), device=device, dtype=torch.int64)
    with torch.inference_mode():
        for images, labels in data.batches(split, batch, device=device, part=world.part):
            correct += (model(images).argmax(1) == labels).sum()
        world.total(correct)
    model.train(was_training)
    return correct.item() / max(1, data.count(split))


@contextlib.contextmanager
def _seeded(seed: int, epoch: int, rank: int, device: str) -> Iterator[None]:
    """Dropout's numbers for one epoch in one process; the global generators come back as they were."""
    where = torch.device(device)
    devices = [where.index or 0] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed * 1_000_003 + epoch + rank * _RANKS_APART)
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
