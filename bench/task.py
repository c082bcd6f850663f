"""What a method sees of the job: the harness's side of `methods.base.Task`."""

from __future__ import annotations

import copy
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.fx import GraphModule

from baselines.data import ImageData
from baselines.training import evaluate
from bench.cache import Stage
from bench.estimate import Narrator
from bench.files import save_file
from bench.job import Job
from bench.naming import network_in
from bench.plan import Case, content_id
from bench.ranks.start import made_together
from bench.trainer import Trainer
from methods.base import Refused, Task
from methods.graph import trace

_CALIBRATION_BATCH = 64
_NO_TRAINING = (
    "it trains for as long as the dense network did, which was not trained here: say for how many epochs with --epochs "
    "(the dense network is trained on for as many)"
)
Make = Callable[[Case], list[Stage]]  # the dense network of a case and what each stage makes of it


def task_for(trainer: Trainer, before: str, make: Make) -> Task:
    """What a method sees of the job; before: id of the network that it compresses; make: other cases' networks."""
    job, case = trainer.job, trainer.case
    recipe = case.source.recipe

    def finetune(
        model: GraphModule,
        *,
        lr_scale: float = 1.0,
        full: bool = False,
        epochs: int | None = None,
        adam: float | None = None,
        **settings: Any,
    ) -> GraphModule:
        if full and epochs is None and recipe.epochs == 0:
            raise Refused(_NO_TRAINING)
        usual, lr = (recipe.epochs, recipe.lr) if full else (recipe.finetune_epochs, recipe.finetune_lr)
        peak = (lr if adam is None else adam) * lr_scale
        epochs = usual if epochs is None else epochs
        return trainer.train(model.to(job.device), epochs, peak, adam=adam is not None, **settings)

    def examples(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        return training_examples(job.data, count, seed=case.seed, device=job.device)

    return Task(
        finetune,
        lambda count: calibration_images(job.data, count, seed=case.seed, device=job.device),
        seed=case.seed,
        device=job.device,
        examples=examples,
        validate=lambda model: evaluate(
            model.to(job.device), job.data, "validation", device=job.device, world=job.world
        ),
        log=trainer.log,
        share=functools.partial(trainer.share, before),
        dense_at=functools.partial(_dense_at, trainer),
        build=functools.partial(build, job, case.seed),
        network=functools.partial(_network, trainer, make),
        compressed=functools.partial(_compressed, trainer, make),
        file_bytes=functools.partial(_file_bytes, trainer, make),
        stored_bytes=functools.partial(_bytes_of, job, case),
    )


def build(job: Job, seed: int, net: str) -> GraphModule:
    """A network before training, on the job's device."""
    return trace(job.make_network(net, seed)).to(job.device)


def _network(trainer: Trainer, make: Make, name: str) -> GraphModule:
    """A trained network by name: the case's dense one, an artifact's, or one trained under its own recipe.

    Raises:
        Refused: the artifact cannot be read, or is not for the images and classes at hand.
    """
    job, case = trainer.job, trainer.case
    if name.endswith(".nnc"):
        return network_in(Path(name), job.data).to(job.device)
    source = case.source if name == "dense" else job.source_of(name)
    with trainer.elsewhere():
        made = make(dataclasses.replace(case, source=source, chain=None))
    return made[-1].model.to(job.device)


def _compressed(trainer: Trainer, make: Make, text: str, offset: int = 0) -> GraphModule:
    case = trainer.case
    other = dataclasses.replace(case, chain=trainer.job.chain_of(text), seed=case.seed + offset)
    with trainer.elsewhere():
        made = make(other)
    trainer.adopt(dict(zip(other.stage_ids, made, strict=True)))
    return made[-1].model.to(trainer.job.device)


def _file_bytes(trainer: Trainer, make: Make, text: str) -> int:
    other = dataclasses.replace(trainer.case, chain=trainer.job.chain_of(text))
    with trainer.elsewhere():
        return _bytes_of(trainer.job, other, make(other)[-1].model)


def _bytes_of(job: Job, case: Case, model: GraphModule) -> int:
    def written() -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "row.nnc"
            save_file(job, case, copy.deepcopy(model), path)
            return path.stat().st_size

    return job.world.agreed(written)


def _dense_at(owner: Trainer, share: float) -> GraphModule:
    return dense_after(owner.job, owner.case, owner.narrator, share)


def dense_after(job: Job, case: Case, narrator: Narrator, share: float) -> GraphModule:
    """The dense network after a share of its training, which is done again where the cache does not hold it: no epoch
    of it counts, since training could have kept it."""
    recipe = case.source.recipe
    epochs = round(share * recipe.epochs)
    stage_id = content_id({"dense": case.source.dense_id(case.seed), "epochs": epochs})
    found = job.cache.load(stage_id)
    if found is None and job.trains_elsewhere:
        found = made_together(job, case, narrator, stage_id, rewound_to=share)
    if found is None:
        trainer = Trainer(job, case, narrator, stage_id, "dense, for rewinding")
        started = time.monotonic()
        model = trainer.train(build(job, case.seed, case.source.net["spec"]), recipe.epochs, recipe.lr, until=share)
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
