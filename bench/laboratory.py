"""Tries chains for whoever has to choose between them: bytes, validation accuracy and, where asked, latency of a file.

The test split is not there: the laboratory's data come without it. What is chosen then runs as any row does, and costs
no training again, since the stages are in the cache. Trials are files of the run's folder, so that a choice that was
interrupted goes on where it was and comes to the same end.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch.fx import GraphModule

from baselines.training import Diverged, evaluate
from bench import artifact
from bench.chains import Chain
from bench.estimate import Narrator
from bench.files import save_file
from bench.goals import Levels
from bench.job import Job
from bench.measure import MeasureError, Server
from bench.measure.macs import macs_of
from bench.measure.messages import TimeAnswer, TimeRequest
from bench.measure.params import size_of
from bench.measure.process import ask
from bench.plan import Case, content_id
from bench.records import from_data, write_json
from bench.stages import stages
from bench.task import task_for
from bench.trainer import Trainer
from methods.base import Refused, Task
from methods.graph import UntraceableError

_TIMING_S = 2.0  # budget of samples of one trial, both networks together
_TIMING_LIMIT_S = 600.0
_TRIALS = "trials"  # folder of a run
UNTRAINED = -1  # epochs of a trial whose methods were not let train at all


@dataclass(frozen=True)
class Trial:
    """What came of one chain at one budget."""

    chain: str  # canonical text; "dense" for the reference
    label: str
    seed: int
    epochs: int  # fine-tuning epochs of each stage, or UNTRAINED
    status: Literal["ok", "refused"]
    reason: str = ""
    file_bytes: int = 0
    parameters: int = 0
    macs: int = 0
    validation_accuracy: float = math.nan
    latency_s: float = math.nan  # median; not a number where it was not asked for
    dense_latency_s: float = math.nan  # of the dense network, taken by turns with it
    seconds: float = 0.0

    def levels(self, dense: Trial) -> Levels:
        """As a goal sees it; the latency is scaled to that of `dense`, whose clock it was taken beside."""
        pace = self.latency_s / self.dense_latency_s if self.chain != "dense" else 1.0
        drop = 100 * (dense.validation_accuracy - self.validation_accuracy)
        return Levels(self.file_bytes, drop, self.parameters, self.macs, pace * dense.latency_s)


@dataclass
class Laboratory:
    """Tries chains of one job on one seed.

    runtime: in which latency is taken, of single images.
    """

    job: Job
    narrator: Narrator
    seed: int
    runtime: str = "eager"
    server: Server | None = None
    _reference: Case = field(init=False)

    def __post_init__(self) -> None:
        self.job = dataclasses.replace(self.job, data=self.job.data.without_test())
        self._reference = next(one for one in self.job.plan.cases if one.chain is None and one.seed == self.seed)

    @property
    def full_epochs(self) -> int:
        """The fine-tuning epochs that the recipe gives each method."""
        return self._reference.source.recipe.finetune_epochs

    def chain_of(self, text: str) -> Chain:
        """A chain as typed.

        Raises:
            UsageError: there is no such chain.
        """
        chain = self.job.chain_of(text)
        assert chain is not None, text
        return chain

    def ladder(self, chain: Chain, epochs: Sequence[int]) -> list[int]:
        """Those of rising numbers of fine-tuning epochs that are worth a trial on the way to the last: of a chain that
        trains as long as the dense network did, few save time."""
        dense = self._reference.source.recipe.epochs
        costs = [sum(stage.method.epochs(one, dense) for stage in chain.stages) for one in epochs]
        return [one for one, cost in zip(epochs, costs, strict=True) if one == epochs[-1] or 2 * cost <= costs[-1]]

    def dense(self, *, latency: bool = False) -> Trial:
        """The reference; its latency is taken beside itself."""
        return self.trial(None, latency=latency)

    def trial(self, chain: Chain | None, epochs: int | None = None, *, latency: bool = False) -> Trial:
        """What comes of `chain` with `epochs` of fine-tuning a stage: the recipe's by default, UNTRAINED for none.

        A chain that cannot run, or diverges, is a trial that was refused, with its reason.
        """
        epochs = self.full_epochs if epochs is None else epochs
        case = self._case(chain, epochs)
        path = self._path(case, epochs, latency)
        if (held := _read(path)) is not None:
            return held
        started = time.monotonic()
        try:
            found = self._tried(case, epochs, latency)
        except (Refused, UntraceableError, Diverged) as error:
            found = Trial(case.text, case.label, self.seed, epochs, "refused", " ".join(str(error).split()))
        found = dataclasses.replace(found, seconds=time.monotonic() - started)
        write_json(dataclasses.asdict(found), path)
        return found

    def _case(self, chain: Chain | None, epochs: int) -> Case:
        source = self._reference.source
        recipe = dataclasses.replace(source.recipe, finetune_epochs=max(0, epochs))
        return dataclasses.replace(self._reference, chain=chain, source=dataclasses.replace(source, recipe=recipe))

    def _path(self, case: Case, epochs: int, latency: bool) -> Path:
        asked: list[Any] = [case.stage_ids[-1], epochs]
        if latency:
            asked += [self.runtime, case.threads]
        return self.job.out / _TRIALS / f"{content_id(asked)}.json"

    def _tried(self, case: Case, epochs: int, latency: bool) -> Trial:
        model = self._untrained(case) if epochs == UNTRAINED else stages(self.job, case, self.narrator)[-1].model
        with tempfile.TemporaryDirectory(prefix="trial-") as folder:
            path = Path(folder) / "trial.nnc"
            shipped = save_file(self.job, case, model, path)
            size = size_of(artifact.load(path).ledger, path.stat().st_size)
            clock = self._timed(path, case) if latency else (math.nan, math.nan)
        macs = macs_of(shipped, self.job.data.input_shape)
        accuracy = evaluate(shipped.to(self.job.device), self.job.data, "validation", device=self.job.device)
        return Trial(
            case.text, case.label, self.seed, epochs, "ok", "", size.file_bytes, size.parameters, macs, accuracy, *clock
        )

    def _untrained(self, case: Case) -> GraphModule:
        """What the chain's methods make of the dense network when no training takes place: nearly as many bytes."""
        model = stages(self.job, dataclasses.replace(case, chain=None), self.narrator)[0].model.to(self.job.device)
        for index, stage in enumerate(case.chain.stages if case.chain else (), start=1):
            trainer = Trainer(self.job, case, self.narrator, case.stage_ids[index], stage.label)
            make = functools.partial(stages, self.job, narrator=self.narrator)
            task = without_training(task_for(trainer, case.stage_ids[index - 1], make))
            if reason := stage.method.unsupported(model):
                raise Refused(f"{stage.label}: {reason}")
            model = stage.method.compress(model, task)
        return model

    def _timed(self, path: Path, case: Case) -> tuple[float, float]:
        """Median seconds of one image for the file and for the dense one, by turns."""
        dense = self._dense_file(case)
        work = str((self.job.out / "work").resolve())  # the process has a folder of its own
        request = TimeRequest(
            str(path), str(dense), self.runtime, case.threads, self.job.device, 1, work, _TIMING_S
        )  # fmt: skip
        self.narrator.tell(f"timing {case.label}")
        server = self.server if self.job.device == "cpu" else None
        try:
            answer: TimeAnswer = ask(request, progress=lambda _: None, timeout_s=_TIMING_LIMIT_S, server=server)
        except MeasureError as error:
            raise Refused(f"it does not run in {self.runtime}: {error}") from error
        if answer.reason:
            raise Refused(f"it does not run in {self.runtime}: {answer.reason}")
        return statistics.median(answer.samples), statistics.median(answer.dense_samples)

    def _dense_file(self, case: Case) -> Path:
        reference = dataclasses.replace(case, chain=None)
        path = self.job.out.resolve() / _TRIALS / f"dense-{reference.stage_ids[0]}.nnc"
        if not path.is_file():
            save_file(self.job, reference, stages(self.job, reference, self.narrator)[0].model, path)
        return path


def without_training(task: Task) -> Task:
    """The task as it is, but that training changes nothing and nothing is kept for other rows."""

    def finetune(model: GraphModule, **_settings: Any) -> GraphModule:
        return model.eval()

    return dataclasses.replace(task, finetune=finetune, share=lambda _key, make: make())


def _read(path: Path) -> Trial | None:
    """A trial that was kept, or None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        return from_data(Trial, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None
