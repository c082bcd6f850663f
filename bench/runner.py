"""Runs a plan's cases: trains or takes from the cache, writes one file a case, has it measured, keeps one record.

Every step can be repeated: what a kill interrupts is done again from the last epoch, what is whole is not touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from baselines.data import ImageData
from baselines.errors import UsageError
from baselines.training import Epoch, evaluate, train
from bench import artifact, grammar
from bench.cache import Stage, StageCache
from bench.environment import environment
from bench.estimate import Meter, Sizes, plan_seconds
from bench.measure import Measured, measure
from bench.plan import Case, Plan
from bench.progress import Watcher
from bench.records import EpochLog, RecordError, RunRecord, read_record, write_json, write_record
from methods.base import Refused, Task
from methods.graph import UntraceableError, trace


@dataclass(frozen=True)
class Job:
    """A plan with what it takes to carry it out."""

    plan: Plan
    data: ImageData
    data_request: dict[str, Any]  # arguments of baselines.data.load, as typed, so that a file opens the same data
    make_network: Callable[[int], nn.Module]  # seed -> dense network before training
    sizes: Sizes
    device: str
    out: Path
    cache: StageCache

    def record_path(self, case: Case) -> Path:
        return self.out / "records" / f"{case.id}.json"

    def artifact_path(self, case: Case) -> Path:
        return self.out / "artifacts" / f"{_slug(case.label)}-s{case.seed}-{case.id[:6]}.nnc"


def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+=-]+", "_", label)[:80]


def finished(job: Job, case: Case) -> RunRecord | None:
    """The case's record if it needs no more work: it ran or was refused, and its file is what was measured."""
    path = job.record_path(case)
    if not path.is_file():
        return None
    try:
        record = read_record(path)
    except RecordError:
        return None  # made again; the cache holds the training
    if record.status == "refused":
        return record
    file = job.out / record.artifact
    whole = record.status == "ok" and file.is_file() and _sha256(file) == record.sha256
    return record if whole else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def claim(job: Job) -> None:
    """Takes the run's folder for the plan.

    Raises:
        UsageError: the folder holds another plan, or cannot be written.
    """
    path = job.out / "plan.json"
    try:
        if path.is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            if held.get("id") != job.plan.id:
                raise UsageError(
                    f"--out {job.out} holds the run of another plan ({held.get('command')}): choose another folder"
                )
            return
        cases = [case.id for case in job.plan.cases]
        write_json({"id": job.plan.id, "command": job.plan.command, "cases": cases}, path)
    except OSError as error:
        raise UsageError(f"--out {job.out} cannot be written: {error.strerror}") from error


@dataclass
class Runner:
    """Carries out one job, telling `watcher` of it."""

    job: Job
    watcher: Watcher
    meter: Meter = field(init=False)

    def run(self) -> list[RunRecord]:
        """All records in plan order. A case that fails is a record with its reason and stops nothing."""
        job = self.job
        known = {case.id: record for case in job.plan.cases if (record := finished(job, case))}
        have = {stage for case in job.plan.cases for stage in case.stage_ids if job.cache.has(stage)}
        self.meter = Meter(plan_seconds(job.plan, job.sizes, have, set(known)))
        records = []
        for index, case in enumerate(job.plan.cases, start=1):
            self.watcher.case(index, len(job.plan.cases), self._title(case))
            record = known.get(case.id) or self._attempt(case)
            kept = " (kept from before)" if case.id in known else ""
            self.watcher.say(f"[{index}/{len(job.plan.cases)}] {self._title(case)}: {summary(record)}{kept}")
            self.meter.finish(case.id)
            records.append(record)
        return records

    def _title(self, case: Case) -> str:
        several = len({case.seed for case in self.job.plan.cases}) > 1
        return f"{case.label} seed {case.seed}" if several else case.label

    def _attempt(self, case: Case) -> RunRecord:
        try:
            record = self._run_case(case)
        except (Refused, UntraceableError) as refusal:
            record = self._unfinished(case, "refused", str(refusal))
        except Exception as error:  # the one broad catch: whatever a case does, the others run
            log = self.job.out / "logs" / f"{case.id}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc(), encoding="utf-8")
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            record = self._unfinished(case, "failed", f"{reason} (details in logs/{log.name})")
        write_record(record, self.job.record_path(case))
        return record

    def _unfinished(self, case: Case, status: Any, reason: str) -> RunRecord:
        return dataclasses.replace(self._blank(case), status=status, reason=reason)

    def _blank(self, case: Case) -> RunRecord:
        source = case.source
        return RunRecord(
            case_id=case.id,
            net=source.net["spec"],
            dataset=source.data["title"],
            chain=case.text,
            label=case.label,
            seed=case.seed,
            recipe=dataclasses.asdict(source.recipe),
            status="ok",
            environment=environment() | {"device": self.job.device, "threads": case.threads},
        )

    def _run_case(self, case: Case) -> RunRecord:
        stages = self._stages(case)
        shipped = artifact.ship(stages[-1].model.cpu())
        path = self.job.artifact_path(case)
        path.parent.mkdir(parents=True, exist_ok=True)
        artifact.save(shipped, path, self._metadata(case))
        validation = evaluate(shipped.to(self.job.device), self.job.data, "validation", device=self.job.device)
        measured = self._measure(case, path)
        return dataclasses.replace(
            self._blank(case),
            artifact=str(path.relative_to(self.job.out)),
            sha256=measured.sha256,
            file_bytes=measured.file_bytes,
            parameters=measured.parameters,
            nonzeros=measured.nonzeros,
            information_bits=measured.information_bits,
            macs=measured.macs,
            compress_s=sum(stage.seconds for stage in stages[1:]),
            validation_accuracy=validation,
            ledger=measured.ledger,
            training=tuple(log for stage in stages for log in stage.training),
            runtimes=measured.runtimes,
        )

    def _measure(self, case: Case, path: Path) -> Measured:
        dense = None
        if case.chain:
            dense_case = next(one for one in self.job.plan.cases if one.chain is None and one.seed == case.seed)
            dense = self.job.artifact_path(dense_case)
            if not dense.is_file():
                raise RuntimeError("there is no dense file to compare with: the dense case failed")
        spent, share = self.meter.case_s, self.job.sizes.measure_s(len(case.runtimes))
        steps = 1 + 4 * len(case.runtimes)
        seen = 0

        def on_step(text: str) -> None:
            nonlocal seen
            seen += 1
            self.meter.case_s = spent + share * min(1.0, seen / steps)
            self._tell(f"measuring: {text}")

        return measure(
            path,
            dense,
            runtimes=case.runtimes,
            threads=case.threads,
            device=self.job.device,
            data={**self.job.data_request, "data_dir": str(Path(self.job.data_request["data_dir"]).resolve())},
            work=self.job.out / "work",
            progress=on_step,
        )

    def _metadata(self, case: Case) -> dict[str, Any]:
        data = self.job.data
        return {
            "net": case.source.net["spec"],
            "dataset": case.source.data["title"],
            "classes": data.classes,
            "class_names": list(data.class_names),
            "input_shape": list(data.input_shape),
            "mean": [float(value) for value in data.mean],
            "std": [float(value) for value in data.std],
            "chain": case.text,
            "label": case.label,
            "seed": case.seed,
            "case_id": case.id,
            "data": self.job.data_request,
        }

    def _stages(self, case: Case) -> list[Stage]:
        """The dense network's stage and each method's, from the cache as far as it goes."""
        made: list[Stage] = []
        for index, stage_id in enumerate(case.stage_ids):
            found = self.job.cache.load(stage_id)
            if found is None:
                found = self._dense(case) if case.chain is None or index == 0 else self._compress(case, index, made[-1])
                self.job.cache.store(stage_id, found)
            made.append(found)
        return made

    def _dense(self, case: Case) -> Stage:
        stage_id, recipe = case.stage_ids[0], case.source.recipe
        trainer = _Trainer(self, case, stage_id, "dense")
        model = trace(self.job.make_network(case.seed)).to(self.job.device)
        started = time.monotonic()
        trainer.train(model, recipe.epochs, recipe.lr)
        return Stage(model.cpu(), tuple(trainer.logs), trainer.seconds(started))

    def _compress(self, case: Case, index: int, before: Stage) -> Stage:
        assert case.chain is not None
        stage, stage_id, recipe = case.chain.stages[index - 1], case.stage_ids[index], case.source.recipe
        trainer = _Trainer(self, case, stage_id, _stage_name(case.chain, index))
        model = before.model.to(self.job.device)
        if reason := stage.method.unsupported(model):
            raise Refused(f"{stage.label}: {reason}")

        def finetune(model: GraphModule, *, lr_scale: float = 1.0) -> GraphModule:
            return trainer.train(model.to(self.job.device), recipe.finetune_epochs, recipe.finetune_lr * lr_scale)

        def calibration(count: int) -> Any:
            return _first(self.job.data.batches("train", 64, device=self.job.device), count)

        self._tell(f"{stage.label}: compressing")
        started = time.monotonic()
        task = Task(finetune, calibration, seed=case.seed, device=self.job.device)
        compressed = stage.method.compress(model, task)
        return Stage(compressed.cpu(), tuple(trainer.logs), trainer.seconds(started))

    def _tell(self, text: str) -> None:
        self.watcher.step(text, *self.meter.reading())


def _stage_name(chain: grammar.Chain, index: int) -> str:
    return "+".join(stage.label for stage in chain.stages[:index])


def _first(batches: Any, count: int) -> Any:
    for images, _labels in batches:
        if count <= 0:
            return
        yield images[:count]
        count -= len(images)


@dataclass
class _Trainer:
    """The training a method may ask for, with its snapshots and logs."""

    runner: Runner
    case: Case
    stage_id: str
    stage: str
    logs: list[EpochLog] = field(default_factory=list)
    calls: int = 0
    _here_s: float = 0.0  # seconds of the epochs run in this sitting

    def train(self, model: GraphModule, epochs: int, lr: float) -> GraphModule:
        job = self.runner.job
        snapshot = job.cache.snapshot(self.stage_id, self.calls)
        spent, share = self.runner.meter.case_s, job.sizes.train_s(epochs)
        latest = "no epoch yet"

        def on_epoch(log: Epoch) -> None:
            nonlocal latest
            self._here_s += log.seconds
            latest = f"loss {log.train_loss:.3f}, validation {100 * log.validation_accuracy:.1f} %"

        def on_batch(epoch: int, done: int, total: int) -> None:
            self.runner.meter.case_s = spent + share * (epoch - 1 + done / total) / max(epochs, 1)
            self.runner._tell(f"training {self.stage}, epoch {epoch}/{epochs}, {latest}")

        logs = train(
            model,
            job.data,
            stage=self.stage,
            epochs=epochs,
            lr=lr,
            recipe=self.case.source.recipe,
            seed=self.case.seed + 1_000_003 * self.calls,
            device=job.device,
            snapshot=snapshot,
            on_epoch=on_epoch,
            on_batch=on_batch,
            on_note=self.runner.watcher.say,
        )
        self.calls += 1
        self.logs.extend(EpochLog(**dataclasses.asdict(log)) for log in logs)
        self.runner.meter.case_s = spent + share
        return model

    def seconds(self, started: float) -> float:
        """Seconds of the stage: this sitting's, and the epochs of earlier ones."""
        return time.monotonic() - started - self._here_s + sum(log.seconds for log in self.logs)


def summary(record: RunRecord) -> str:
    """One line for the terminal."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    scores = [result.accuracy for result in record.runtimes if result.accuracy]
    accuracy = f"{100 * scores[0].correct / scores[0].seen:.2f} % correct, " if scores else ""
    return f"{accuracy}{record.file_bytes:,} bytes"


def set_up_torch(device: str, deterministic: bool) -> None:
    """Process-wide settings of a run.

    Raises:
        UsageError: the device is not there.
    """
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise UsageError(f"--device {device}: torch finds {count} CUDA devices on this machine; use --device cpu")
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
