"""Makes the networks of a case stage by stage: trains the dense one, runs methods, keeps each result in the cache."""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor
from torch.fx import GraphModule

from baselines.data import ImageData
from baselines.training import Epoch, train
from bench.cache import Stage
from bench.estimate import Narrator
from bench.job import Job
from bench.plan import Case
from bench.records import EpochLog
from methods.base import Refused, Task
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
    model = trainer.train(trace(job.make_network(case.seed)).to(job.device), recipe.epochs, recipe.lr, {})
    return Stage(model.cpu(), tuple(trainer.logs), trainer.seconds(started))


def _compressed(job: Job, case: Case, index: int, before: Stage, narrator: Narrator) -> Stage:
    assert case.chain is not None
    stage, recipe = case.chain.stages[index - 1], case.source.recipe
    name = "+".join(one.label for one in case.chain.stages[:index])
    trainer = _Trainer(job, case, narrator, case.stage_ids[index], name)
    model = before.model.to(job.device)
    if reason := stage.method.unsupported(model):
        raise Refused(f"{stage.label}: {reason}")

    def finetune(
        model: GraphModule,
        *,
        lr_scale: float = 1.0,
        full: bool = False,
        decay: Mapping[str, float] | None = None,
        at_step: Callable[[float], None] | None = None,
    ) -> GraphModule:
        epochs, lr = (recipe.epochs, recipe.lr) if full else (recipe.finetune_epochs, recipe.finetune_lr)
        return trainer.train(model.to(job.device), epochs, lr * lr_scale, decay or {}, at_step)

    def calibration(count: int) -> Iterator[Tensor]:
        return calibration_images(job.data, count, seed=case.seed, device=job.device)

    narrator.tell(f"compressing with {stage.label}")
    importlib.import_module("torch._dynamo")  # which the first optimiser of a process does: not this method's seconds
    started = time.monotonic()
    task = Task(finetune, calibration, seed=case.seed, device=job.device)
    compressed = stage.method.compress(model, task)
    return Stage(compressed.cpu(), tuple(trainer.logs), trainer.seconds(started))


def calibration_images(data: ImageData, count: int, *, seed: int, device: str) -> Iterator[Tensor]:
    """Batches [n, c, h, w] of at most `count` training images, drawn from all classes, without augmentation."""
    for images, _labels in data.train_batches(_CALIBRATION_BATCH, device=device, seed=seed, epoch=0, augment=False):
        if count <= 0:
            return
        yield images[:count]
        count -= len(images)


@dataclass
class _Trainer:
    """The trainings that one stage asks for, with their snapshots and logs."""

    job: Job
    case: Case
    narrator: Narrator
    stage_id: str
    stage: str
    logs: list[EpochLog] = field(default_factory=list)
    calls: int = 0
    _here_s: float = 0.0  # seconds of the epochs run in this sitting

    def train(
        self,
        model: GraphModule,
        epochs: int,
        lr: float,
        decay: Mapping[str, float],
        at_step: Callable[[float], None] | None = None,
    ) -> GraphModule:
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
            decay=decay,
            at_step=at_step,
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

    def seconds(self, started: float) -> float:
        """Seconds of the stage: this sitting's, and the epochs of earlier ones."""
        return time.monotonic() - started - self._here_s + sum(log.seconds for log in self.logs)
