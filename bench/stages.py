"""Makes the networks of a case stage by stage: trains the dense one, runs methods, keeps each result in the cache."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.fx import GraphModule

from baselines.data import ImageData
from baselines.training import Epoch, evaluate, train
from bench.cache import Stage
from bench.estimate import Narrator
from bench.job import Job
from bench.plan import RESULTS, Case, content_id
from bench.records import EpochLog, StepLog
from methods.base import CompressionStep, Refused, Task
from methods.graph import trace

_CALIBRATION_BATCH = 64
_SEEDS_APART = 1_000_003  # between the trainings of one stage, so that no two see the same order of images


def stages(job: Job, case: Case, narrator: Narrator) -> list[Stage]:
    """The dense network's stage and each method's, from the cache as far as it goes.

    Raises:
        Refused: a method cannot compress what the stage before it left.
    """
    made: list[Stage] = []
    for index, stage_id in enumerate(case.stage_ids):
        found = job.cache.load(stage_id)
        if found is None:
            found = _compressed(job, case, index, made[-1], narrator) if made else _dense(job, case, narrator)
            job.cache.store(stage_id, found)
        made.append(found)
    return made


def _dense(job: Job, case: Case, narrator: Narrator) -> Stage:
    recipe = case.source.recipe
    trainer = _Trainer(job, case, narrator, case.stage_ids[0], "dense")
    started = time.monotonic()
    model = trainer.train(dense_network(job, case), recipe.epochs, recipe.lr)
    return trainer.result(model, started)


def dense_network(job: Job, case: Case) -> GraphModule:
    """The dense network before training, on the job's device."""
    return trace(job.make_network(case.seed)).to(job.device)


def _compressed(job: Job, case: Case, index: int, before: Stage, narrator: Narrator) -> Stage:
    assert case.chain is not None
    stage = case.chain.stages[index - 1]
    name = "+".join(one.label for one in case.chain.stages[:index])
    trainer = _Trainer(job, case, narrator, case.stage_ids[index], name)
    model = before.model.to(job.device)
    if reason := stage.method.unsupported(model):
        raise Refused(f"{stage.label}: {reason}")
    narrator.tell(f"compressing with {stage.label}")
    importlib.import_module("torch._dynamo")  # which the first optimiser of a process does: not this method's seconds
    started = time.monotonic()
    compressed = stage.method.compress(model, _task(trainer, case.stage_ids[index - 1]))
    return trainer.result(compressed, started)


def _task(trainer: _Trainer, before: str) -> Task:
    """What a method sees of the job. before: id of the network that it compresses."""
    job, case = trainer.job, trainer.case
    recipe = case.source.recipe

    def finetune(model: GraphModule, *, lr_scale: float = 1.0, full: bool = False, **settings: Any) -> GraphModule:
        epochs, lr = (recipe.epochs, recipe.lr) if full else (recipe.finetune_epochs, recipe.finetune_lr)
        return trainer.train(model.to(job.device), epochs, lr * lr_scale, **settings)

    def examples(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        return training_examples(job.data, count, seed=case.seed, device=job.device)

    return Task(
        finetune,
        lambda count: calibration_images(job.data, count, seed=case.seed, device=job.device),
        seed=case.seed,
        device=job.device,
        examples=examples,
        validate=lambda model: evaluate(model.to(job.device), job.data, "validation", device=job.device),
        log=trainer.log,
        share=functools.partial(trainer.share, before),
        dense_at=functools.partial(_dense_at, job, case, trainer.narrator),
    )


def _dense_at(job: Job, case: Case, narrator: Narrator, share: float) -> GraphModule:
    """The dense network after a share of its training, which is done again where the cache does not hold it: no epoch
    of it counts, since training could have kept it."""
    recipe = case.source.recipe
    epochs = round(share * recipe.epochs)
    stage_id = content_id({"dense": case.source.dense_id(case.seed), "epochs": epochs})
    found = job.cache.load(stage_id)
    if found is None:
        trainer = _Trainer(job, case, narrator, stage_id, "dense, for rewinding")
        started = time.monotonic()
        model = trainer.train(dense_network(job, case), recipe.epochs, recipe.lr, until=share)
        found = trainer.result(model, started)
        job.cache.store(stage_id, found)
    return found.model.to(job.device)


def training_examples(data: ImageData, count: int, *, seed: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches [n, c, h, w] and labels [n] of at most `count` training images, of all classes, without augmentation."""
    batches = data.train_batches(_CALIBRATION_BATCH, device=device, seed=seed, epoch=0, augment=False)
    for images, labels in batches:
        if count <= 0:
            return
        yield images[:count], labels[:count]
        count -= len(images)


def calibration_images(data: ImageData, count: int, *, seed: int, device: str) -> Iterator[Tensor]:
    """The images alone of `training_examples`, batches [n, c, h, w]."""
    return (images for images, _ in training_examples(data, count, seed=seed, device=device))


@dataclass
class _Trainer:
    """The trainings that one stage asks for, with their snapshots and logs, and the steps that it tells of."""

    job: Job
    case: Case
    narrator: Narrator
    stage_id: str
    stage: str
    logs: list[EpochLog] = field(default_factory=list)
    steps: list[StepLog] = field(default_factory=list)
    calls: int = 0
    _here_s: float = 0.0  # seconds of the epochs run in this sitting
    _taken_s: float = 0.0  # seconds beside epochs of what another row had made

    def train(self, model: GraphModule, epochs: int, lr: float, **settings: Any) -> GraphModule:
        """Trains `model`; settings: further ones of `baselines.training.train`."""
        job, meter = self.job, self.narrator.meter
        spent, share = meter.case_s, job.sizes.train_s(epochs)
        latest = "no epoch yet"

        def on_epoch(log: Epoch) -> None:
            nonlocal latest
            self._here_s += log.seconds
            latest = f"loss {log.train_loss:.3f}, validation {100 * log.validation_accuracy:.1f} %"

        def on_batch(epoch: int, done: int, total: int) -> None:
            meter.case_s = spent + share * (epoch - 1 + done / total) / max(epochs, 1)
            self.narrator.tell(f"training {self.stage}, epoch {epoch}/{epochs}, {latest}")

        logs = train(
            model,
            job.data,
            stage=self.stage,
            epochs=epochs,
            lr=lr,
            recipe=self.case.source.recipe,
            **settings,
            seed=self.case.seed + _SEEDS_APART * self.calls,
            device=job.device,
            snapshot=job.cache.snapshot(self.stage_id, self.calls),
            on_epoch=on_epoch,
            on_batch=on_batch,
            on_note=self.narrator.watcher.say,
        )
        self.calls += 1
        self.logs.extend(EpochLog(**dataclasses.asdict(log)) for log in logs)
        meter.case_s = spent + share
        return model

    def log(self, step: CompressionStep) -> None:
        """Keeps what a method tells of its steps."""
        self.steps.append(StepLog(stage=self.stage, **dataclasses.asdict(step)))

    def share(self, before: str, key: str, make: Callable[[], GraphModule]) -> GraphModule:
        """What `make` returns, from the cache where another row has made it of the network with id `before`.

        Its epochs and steps become part of this stage, whoever made them.
        """
        recipe = dataclasses.asdict(self.case.source.recipe)
        made = [before, key, recipe, self.case.seed, self.calls]
        shared_id = content_id({"results": RESULTS, "shared": made})
        found = self.job.cache.load(shared_id)
        if found is None:
            started, here = time.monotonic(), self._here_s
            seen = len(self.logs), len(self.steps), self.calls
            model = make()
            logs, steps = tuple(self.logs[seen[0] :]), tuple(self.steps[seen[1] :])
            beside = time.monotonic() - started - (self._here_s - here)  # epochs may be of an earlier sitting
            seconds = beside + sum(log.seconds for log in logs)
            entry = Stage(model.cpu(), logs, seconds, steps, self.calls - seen[2])
            self.job.cache.store(shared_id, entry)
            return model.to(self.job.device)
        self.logs += [dataclasses.replace(log, stage=self.stage) for log in found.training]
        self.steps += [dataclasses.replace(step, stage=self.stage) for step in found.steps]
        self.calls += found.trainings
        self._taken_s += found.seconds - sum(log.seconds for log in found.training)  # those of its epochs are counted
        return found.model.to(self.job.device)

    def result(self, model: GraphModule, started: float) -> Stage:
        """What is kept of the stage. Its seconds are this sitting's, and those of the epochs of earlier ones."""
        here = time.monotonic() - started - self._here_s
        seconds = here + self._taken_s + sum(log.seconds for log in self.logs)
        return Stage(model.cpu(), tuple(self.logs), seconds, tuple(self.steps), self.calls)
