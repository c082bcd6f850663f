"""The trainings that one stage asks for: their snapshots, logs, steps and seconds."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.fx import GraphModule

from baselines.training import Epoch, train
from bench.cache import Stage
from bench.estimate import Narrator
from bench.job import Job
from bench.plan import RESULTS, Case, content_id
from bench.records import EpochLog, StepLog
from methods.base import CompressionStep

_SEEDS_APART = 1_000_003  # between the trainings of one stage, so that no two see the same order of images


@dataclass
class Trainer:
    """The trainings that one stage asks for, with their snapshots and logs, and the steps that it tells of."""

    job: Job
    case: Case
    narrator: Narrator
    stage_id: str
    stage: str
    contents: tuple[str, ...] = ()  # of the stage: what its text does not tell
    logs: list[EpochLog] = field(default_factory=list)
    steps: list[StepLog] = field(default_factory=list)
    calls: int = 0
    _here_s: float = 0.0  # seconds of this sitting's epochs, and of what other cases' networks took
    _taken_s: float = 0.0  # seconds beside epochs of what another row had made
    _counted: set[str] = field(default_factory=set)  # ids of other cases' networks whose epochs are in `logs`

    def train(self, model: GraphModule, epochs: int, lr: float, *, subset: float = 1.0, **settings: Any) -> GraphModule:
        """Trains `model`; subset, settings: as of `baselines.training.train`."""
        job, meter = self.job, self.narrator.meter
        if job.trains_elsewhere and epochs:
            raise RuntimeError(f"{self.stage} trains, which its method denies: see CompressionMethod.trains")
        spent, share = meter.case_s, subset * job.sizes.train_s(epochs)
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
            subset=subset,
            **settings,
            seed=self.case.seed + _SEEDS_APART * self.calls,
            device=job.device,
            world=job.world,
            snapshot=job.cache.snapshot(self.stage_id, self.calls),
            on_epoch=on_epoch,
            on_batch=on_batch,
            on_note=self.narrator.watcher.say,
        )
        self.calls += 1
        self.logs.extend(EpochLog(**dataclasses.asdict(log), processes=job.processes) for log in logs)
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
        made = [before, key, recipe, self.case.seed, self.calls, *self.contents]
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

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Around what makes networks of other cases: its seconds are not this stage's."""
        started = time.monotonic()
        yield
        self._here_s += time.monotonic() - started

    def adopt(self, made: Mapping[str, Stage]) -> None:
        """Counts the epochs and seconds of networks that this stage had made, by id, whoever paid for them: each once,
        and the row's own dense network not at all."""
        for stage_id, one in made.items():
            if stage_id in self._counted or stage_id == self.case.stage_ids[0]:
                continue
            self._counted.add(stage_id)
            self.logs += [dataclasses.replace(log, stage=self.stage) for log in one.training]
            self._taken_s += one.seconds - sum(log.seconds for log in one.training)

    def result(self, model: GraphModule, started: float) -> Stage:
        """What is kept of the stage. Its seconds are this sitting's, and those of the epochs of earlier ones."""
        here = time.monotonic() - started - self._here_s
        seconds = here + self._taken_s + sum(log.seconds for log in self.logs)
        return Stage(model.cpu(), tuple(self.logs), seconds, tuple(self.steps), self.calls)
