"""What Ray runs on a machine of the cluster. Every process of it opens the job for itself, from the same command, and
has to come to the same plan: then code, data and networks are the same, and so is every result."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.errors import UsageError
from bench.casework import CaseWork, store
from bench.cluster.board import BoardWatcher
from bench.command import Command
from bench.environment import environment
from bench.estimate import Meter, Narrator
from bench.grammar import Methods
from bench.inputs import make_job
from bench.job import Job
from bench.measure import Server
from bench.plan import Case
from bench.records import RunRecord
from bench.runner import runtimes_of, title

_MARK = ".of-the-driver"  # begins the name of a file in the folders that all machines have to see
_OURS = ("commit", "commit_dirty", "python", "packages")
_work: dict[str, CaseWork] = {}  # by plan, of this process


@dataclass(frozen=True)
class Assignment:
    """What a machine has to know of a run."""

    command: Command
    methods: Methods
    device: str  # "cpu" or "cuda"
    plan: str  # id
    folder: str  # that the command was typed in
    code: dict[str, Any]  # commit and versions
    token: str


@dataclass(frozen=True)
class Share:
    """One case, as it is handed to a machine."""

    case_id: str
    seconds: float  # estimated, of all of it
    done_s: float  # of them, done before


def assignment_of(job: Job, methods: Methods, token: str) -> Assignment:
    """The assignment by the machine that the command was typed on."""
    return Assignment(job.command, methods, job.device, job.plan.id, os.getcwd(), _code(), token)


def _code() -> dict[str, Any]:
    here = environment()
    return {name: here[name] for name in _OURS}


def token_of(job: Job) -> str:
    """A token of the run, another one each time. It begins as the run's last one did, which names its file: runs that
    share a cache each have their own there, and one that was killed leaves none for good."""
    place = hashlib.sha256(str(job.out.resolve()).encode()).hexdigest()[:16]
    return f"{place}.{secrets.token_hex(16)}"


def mark(folders: tuple[Path, ...], token: str) -> None:
    """Puts the token where the other machines look for it."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        _file_of(token, folder).write_text(token, encoding="ascii")


def unmark(folders: tuple[Path, ...], token: str) -> None:
    """Takes it away."""
    for folder in folders:
        _file_of(token, folder).unlink(missing_ok=True)


def _file_of(token: str, folder: Path) -> Path:
    return folder / f"{_MARK}-{token.partition('.')[0]}"


def unfit(assignment: Assignment) -> str:
    """Why this machine cannot work on the run, in a line; empty where it can."""
    if not Path(assignment.folder).is_dir():
        return f"it has no folder {assignment.folder}, in which the command was typed"
    os.chdir(assignment.folder)
    for flag, folder in (("--out", assignment.command.options.out), ("--cache", assignment.command.options.cache)):
        assert folder
        try:
            seen = _file_of(assignment.token, folder).read_text(encoding="ascii")
        except OSError:
            seen = ""
        if seen != assignment.token:
            return f"it does not see {flag} {folder}, which has to lie in a file system that all machines share"
    here = _code()
    for name in _OURS:
        if here[name] != assignment.code[name]:
            return f"its {name.replace('_', ' ')} differs: {_difference(here[name], assignment.code[name])}"
    return ""


def _difference(here: Any, there: Any) -> str:
    if isinstance(here, dict):
        names = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
        return ", ".join(f"{name} {here.get(name)} for {there.get(name)}" for name in names)
    return f"{here} for {there}"


def make(assignment: Assignment, share: Share, board: Any, cpus: int) -> RunRecord:
    """Makes the case's file; of a case that came to nothing the record is written.

    Raises:
        UsageError: this machine cannot, or nothing more can be written.
    """
    work, case = _opened(assignment, share, board, cpus)
    record = work.attempt(case, lambda: work.make(case))
    if record.status != "ok":
        store(work.job, case, record)
    return record


def measure(assignment: Assignment, share: Share, board: Any, cpus: int, made: RunRecord) -> RunRecord:
    """Measures the case's file and writes its record.

    Raises:
        UsageError: as above.
    """
    work, case = _opened(assignment, share, board, cpus)
    record = work.attempt(case, lambda: work.measured(case, made))
    store(work.job, case, record)
    return record


def _opened(assignment: Assignment, share: Share, board: Any, cpus: int) -> tuple[CaseWork, Case]:
    """The case, and what carries it out in this process and tells the board of it."""
    import torch

    if assignment.plan not in _work:
        if why := unfit(assignment):
            raise UsageError(why)
        gpus, processes = torch.cuda.device_count(), assignment.command.options.processes
        if assignment.device == "cuda" and gpus < processes:
            raise UsageError(
                f"torch finds {gpus} GPUs where Ray gives out {processes}: torch.utils.collect_env says why"
            )
        job = make_job(assignment.command, assignment.methods, lambda _: None, assignment.device)
        if job.plan.id != assignment.plan:
            raise UsageError("the same command means another plan there: its data set or a file of the user's differs")
        server = Server(runtimes_of(job))  # ends with this process
        _work[assignment.plan] = CaseWork(job, Narrator(BoardWatcher(board, "", "", 0), Meter({})), server)
    torch.set_num_threads(cpus)
    work = _work[assignment.plan]
    case = work.job.plan.of(share.case_id)
    watcher = BoardWatcher(board, case.id, title(work.job, case), share.seconds)
    work.job.cache.say = watcher.say
    meter = Meter({case.id: share.seconds}, case_s=share.done_s)
    return dataclasses.replace(work, narrator=Narrator(watcher, meter)), case
