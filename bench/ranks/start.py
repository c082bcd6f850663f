"""Starts ranks and follows them: they make what the cache lacks, or the reason why not is raised here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.cache import Stage
from bench.estimate import Narrator
from bench.job import RANKS, Job
from bench.measure.process import last_words
from bench.plan import Case
from bench.ranks.messages import DIGEST, PROGRESS, RankError, Request, exit_codes, failures
from bench.supervisor import ending

_ROOT = Path(__file__).resolve().parents[2]
_TORCHRUN = "bench.ranks.torchrun"
_FOLLOWS = {signal.SIGTERM, signal.SIGABRT}  # what may end a rank because another one did


def made_together(job: Job, case: Case, narrator: Narrator, stage_id: str, rewound_to: float | None = None) -> Stage:
    """Has the job's number of processes make all stages of `case` that the cache lacks; the one with `stage_id`.

    rewound_to: in place of them the dense network after that share of its training.

    Raises:
        Refused, Diverged, UntraceableError, UsageError, OSError: as one process alone would.
        RankError: a rank broke in another way; the first one's reason.
    """
    meter = narrator.meter
    spent = meter.case_s

    def heard(told: dict[str, Any]) -> None:
        if "say" in told:
            narrator.watcher.say(told["say"])
        elif "complain" in told:
            job.cache.complain(told["complain"])
        else:
            meter.case_s = spent + told["case_s"]
            narrator.tell(told["step"])

    narrator.tell(f"starting {job.processes} processes")
    if job.device.startswith("cuda"):
        torch.cuda.empty_cache()  # what this process no longer uses of its GPU is the first rank's
    place = job.out / "work"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=RANKS, dir=place.resolve()) as folder:
        shared = Path(folder)
        digest = Request(job.command, case, os.getcwd(), rewound_to).write(shared)
        code = _run(job.processes, shared, digest, heard)
        if code:
            raise reason(code, job.processes, shared)
    found = job.cache.load(stage_id)
    if found is None:
        raise RankError(f"{job.cache.path(stage_id)} cannot be read, which a rank has just written")
    return found


def _run(ranks: int, shared: Path, digest: str, heard: Callable[[dict[str, Any]], None]) -> int:
    """Runs the ranks to their end; the exit code of what started them."""
    with _started(ranks, shared, digest) as process:
        assert process.stdout is not None
        for line in process.stdout:  # ends when all have ended that may write to it
            if line.startswith(PROGRESS):
                heard(json.loads(line.removeprefix(PROGRESS)))
        return process.wait()


@contextlib.contextmanager
def _started(ranks: int, shared: Path, digest: str) -> Iterator[subprocess.Popen[str]]:
    """What starts the ranks. At the end of the block, however it comes, none of them is left."""
    with (shared / "stderr.txt").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", _TORCHRUN, str(ranks), str(shared)],
            cwd=_ROOT,
            env=_environment(ranks) | {DIGEST: digest},
            stdin=subprocess.PIPE,  # closed by our death, however we die: all of them then end too
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C is for this process
        )

    def close() -> None:
        process.wait()
        _close(process)

    threading.Thread(target=close, daemon=True).start()  # ranks without their starter would go on
    try:
        yield process
    finally:
        _close(process)
        assert process.stdout is not None
        while process.stdout.read(4096):  # until the last has let go of it
            pass
        process.stdout.close()
        process.wait()


def _close(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError, ValueError):  # the other thread was faster
        assert process.stdin is not None
        process.stdin.close()


def _environment(ranks: int) -> dict[str, str]:
    """Threads of a rank: its share of the cores. Ranks of one machine talk without leaving it."""
    share = max(1, len(os.sched_getaffinity(0)) // ranks)
    own = {"OMP_NUM_THREADS": str(share)} | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})
    return {**own, **os.environ}


def reason(code: int, ranks: int, shared: Path) -> Exception:
    """Why the ranks failed: what broke first, as far as is known."""
    told = failures(shared)
    codes = exit_codes(shared)
    silent = {rank: one for rank, one in codes.items() if rank not in {failure.rank for failure in told}}
    killed = [rank for rank, one in silent.items() if one < 0 and -one not in _FOLLOWS]
    if killed:  # those it was in touch with may complain of that
        return RankError(f"process {killed[0] + 1} of {ranks} ended: {ending(-silent[killed[0]])}")
    if told:
        return told[0].error(ranks)
    if silent:
        rank, one = next(iter(silent.items()))
        how = f"ended: {ending(-one)}" if one < 0 else f"ended with code {one}"
        return RankError(f"process {rank + 1} of {ranks} {how}: {last_words(shared / 'stderr.txt')}")
    how = f"ended: {ending(-code)}" if code < 0 else f"ended with code {code}"
    return RankError(f"torchrun {how}: {last_words(shared / 'stderr.txt')}")
