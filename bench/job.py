"""A plan with what it takes to carry it out, and the folder that it is carried out in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from baselines.data import ImageData
from baselines.errors import UsageError
from baselines.parts import is_being_written, is_part
from baselines.training import too_few_for_all
from baselines.world import ALONE, World
from bench.artifact import is_of_another_version
from bench.cache import FOLDERS_OF_A_CACHE, StageCache
from bench.chains import Chain
from bench.command import Command
from bench.environment import environment
from bench.estimate import Sizes
from bench.folders import check_writable, hold
from bench.options import Options
from bench.plan import Case, Plan, Source
from bench.records import RecordError, RunRecord, read_record, write_json

RANKS = "ranks-"  # begins the names of folders below OUT/work that live as long as processes train together
_FOLDERS_OF_A_RUN = ("records", "artifacts", "work", "figures")
_ABANDONED_S = 3600.0


@dataclass(frozen=True)
class Job:
    """A plan with what it takes to carry it out."""

    command: Command  # that makes it again, on any machine
    plan: Plan
    data: ImageData
    data_request: dict[str, Any]  # arguments of baselines.data.load, as typed, so that a file opens the same data
    make_network: Callable[[str, int], nn.Module]  # (net as typed, seed) -> the network before training
    source_of: Callable[[str], Source]  # net as typed -> where its dense network comes from
    chain_of: Callable[[str], Chain | None]  # one chain as typed, None for "dense"
    chains_of: Callable[[str], tuple[Chain, ...]]  # all that a text in the form of `--methods` stands for
    sizes: Sizes
    device: str
    out: Path
    cache: StageCache
    processes: int = 1  # that train a network together
    world: World = ALONE  # those of them that carry out this job in lockstep

    @property
    def trains_elsewhere(self) -> bool:
        """Whether trainings are for processes that this one has to start (`bench.ranks`)."""
        return self.processes > self.world.size

    def record_path(self, case: Case) -> Path:
        return self.out / "records" / f"{case.id}.json"

    def artifact_path(self, case: Case) -> Path:
        return self.out / "artifacts" / f"{_slug(case.label)}-s{case.seed}-{case.id[:6]}.nnc"


def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+=-]+", "_", label)[:80]


def finished(job: Job, case: Case) -> RunRecord | None:
    """The case's record if it needs no more work: it ran or was refused, and its file is what was measured."""
    record = _held(job, case)
    if record is None or record.status == "refused":
        return record
    return None if to_measure(record) else record


def begun(job: Job, case: Case) -> RunRecord | None:
    """The case's record if it lacks nothing but some runtimes, and was made with this code, packages and machine."""
    record = _held(job, case)
    if record is None or record.status != "ok":
        return None
    missing = to_measure(record)
    same = all(record.environment.get(key) == value for key, value in environment().items() if key != "date")
    eager_is_there = "eager" not in missing  # what the others' predictions are compared with
    return record if missing and same and eager_is_there and set(missing) < set(case.runtimes) else None


def to_measure(record: RunRecord) -> tuple[str, ...]:
    """Runtimes that did not run the row: what was absent or broke may be there now."""
    return tuple(result.runtime for result in record.runtimes if result.status != "ok")


def _held(job: Job, case: Case) -> RunRecord | None:
    """The case's record, unless it failed, is damaged (the cache holds the training), or its file is another or of
    another version of the format."""
    path = job.record_path(case)
    if not path.is_file():
        return None
    try:
        record = read_record(path)
    except RecordError:
        return None
    file = job.out / record.artifact
    whole = record.status == "ok" and file.is_file() and _sha256(file) == record.sha256
    readable = whole and not is_of_another_version(file)
    return record if readable or record.status == "refused" else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def claim(job: Job) -> None:
    """Takes the run's folder for the plan, and clears from it and from the cache what killed runs left half written.
    No other process can take it until this one ends or gives it back (`bench.folders`).

    Only below the folders that runs make, and only files named as half-written ones are.

    Raises:
        UsageError: the folder holds another plan, another process has it, or it or the cache cannot be written.
    """
    path = job.out / "plan.json"
    try:
        hold(job.out)
        if path.is_file():
            _check_same_plan(path, job)
        else:
            cases = [case.id for case in job.plan.cases]
            write_json({"id": job.plan.id, "command": job.plan.command, "cases": cases}, path)
    except OSError as error:
        raise UsageError(f"--out {job.out} cannot be written: {error.strerror}") from error
    check_writable("--cache", job.cache.folder)
    for folder in _FOLDERS_OF_A_RUN:
        _clear_parts(job.out / folder)
    for left in (job.out / "work").glob(f"{RANKS}*"):
        shutil.rmtree(left, ignore_errors=True)
    for folder in FOLDERS_OF_A_CACHE:
        _clear_parts(job.cache.folder / folder)


def _clear_parts(folder: Path) -> None:
    """Removes what was being written by a process that is gone, and not for an hour: the process may
    be another machine's. A clock that was changed makes nothing old that is being written here."""
    for part in folder.rglob(".*.part"):
        with contextlib.suppress(OSError):  # another run in the same cache was faster, or it is another person's
            old = time.time() - part.stat().st_mtime > _ABANDONED_S
            if is_part(part) and not is_being_written(part) and old:
                part.unlink()


def _check_same_plan(path: Path, job: Job) -> None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        same, command = held["id"] == job.plan.id, held["command"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged: delete it and run again; what is finished is kept") from error
    if not same:
        raise UsageError(f"--out {job.out} holds the run of another plan ({command}): choose another folder")


def chosen_device(asked: str) -> str:
    """What `--device` means on this machine: "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: the device is not there.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and int(asked.partition(":")[2] or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"--device {asked}: torch finds {count} CUDA devices on this machine; use --device cpu")
    return asked


def check_processes(options: Options, device: str, gpus: int | None, images: int, batch_size: int) -> None:
    """device: what `--device` means; gpus: how many there are, where that is known; images: of the training part.

    Raises:
        UsageError: so many processes cannot train together on this machine, or share a batch.
    """
    count = options.processes
    if count == 1:
        return
    together = f"--processes {count}"
    if not dist.is_available():
        raise UsageError(f"{together}: this torch was built without torch.distributed: leave --processes out")
    if options.device == "auto" and device == "cpu":
        raise UsageError(f"{together}: torch finds no GPU here; to share the processor's cores add --device cpu")
    if ":" in device:
        raise UsageError(
            f"{together} takes a GPU for each process: write --device cuda; CUDA_VISIBLE_DEVICES says which"
        )
    if device == "cuda" and gpus is not None and gpus < count:
        raise UsageError(f"{together} needs as many GPUs, and torch finds {gpus}: ask for no more than these")
    if reason := too_few_for_all(images, batch_size, count):
        raise UsageError(f"{together}: {reason} (--batch-size)")


def set_up_torch(deterministic: bool) -> None:
    """Process-wide settings of a run."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
