"""Makes the networks of a case stage by stage: trains the dense one, runs methods, keeps each result in the cache.

Where several processes are to train together, those are started for what trains; methods that do not train run here.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import time

from bench.cache import Stage
from bench.chains import Chain
from bench.estimate import Narrator
from bench.job import Job
from bench.plan import Case
from bench.ranks.start import made_together
from bench.task import build, task_for
from bench.trainer import Trainer
from methods.base import Refused


def stages(job: Job, case: Case, narrator: Narrator) -> list[Stage]:
    """The dense network's stage and each method's, from the cache as far as it goes.

    Raises:
        Refused: a method cannot compress what the stage before it left.
    """
    made: list[Stage] = []
    for index, stage_id in enumerate(case.stage_ids):
        found = job.cache.load(stage_id)
        if found is None and job.trains_elsewhere and (until := _last_that_trains(case, index)) is not None:
            found = made_together(job, _up_to(case, until), narrator, stage_id)
        if found is None:
            found = _compressed(job, case, index, made[-1], narrator) if made else _dense(job, case, narrator)
            job.cache.store(stage_id, found)
        made.append(found)
    return made


def _last_that_trains(case: Case, index: int) -> int | None:
    """The place of the last stage from `index` on that takes training, 0 being the dense network's."""
    methods = case.chain.stages if case.chain else ()
    trains = [case.source.recipe.epochs > 0, *(stage.method.trains for stage in methods)]
    return max((place for place in range(index, len(trains)) if trains[place]), default=None)


def _up_to(case: Case, place: int) -> Case:
    """The case without what comes after that stage."""
    return dataclasses.replace(case, chain=Chain(case.chain.stages[:place]) if case.chain and place else None)


def _dense(job: Job, case: Case, narrator: Narrator) -> Stage:
    recipe = case.source.recipe
    trainer = Trainer(job, case, narrator, case.stage_ids[0], "dense")
    started = time.monotonic()
    model = trainer.train(build(job, case.seed, case.source.net["spec"]), recipe.epochs, recipe.lr)
    return trainer.result(model, started)


def _compressed(job: Job, case: Case, index: int, before: Stage, narrator: Narrator) -> Stage:
    assert case.chain is not None
    stage = case.chain.stages[index - 1]
    name = "+".join(one.label for one in case.chain.stages[:index])
    trainer = Trainer(job, case, narrator, case.stage_ids[index], name, stage.contents)
    model = before.model.to(job.device)
    if reason := stage.method.unsupported(model):
        raise Refused(f"{stage.label}: {reason}")
    narrator.tell(f"compressing with {stage.label}")
    importlib.import_module("torch._dynamo")  # which the first optimiser of a process does: not this method's seconds
    started = time.monotonic()
    make = functools.partial(stages, job, narrator=narrator)
    compressed = stage.method.compress(model, task_for(trainer, case.stage_ids[index - 1], make))
    return trainer.result(compressed, started)
