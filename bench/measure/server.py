"""The server that forks scoring processes: `python -m bench.measure.server PARENT RUNTIME...`.

Importing torch and an exporter takes longer than much of what is then measured. This process imports them once and
forks for each request, so that every request is still answered by a process that has read nothing before. It reads no
file of a run, runs no network, and starts no thread (threads do not survive a fork). Not for GPUs: a driver that was
asked for anything before a fork is of no use after it.

A line on standard input is a JSON list: the paths of a request, of its answer, and of a file for standard error.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from baselines.collector import collector_off
from bench.measure.__main__ import answer_to, end_with_parent
from bench.measure.messages import ENDED, FORKED, read_message, say, write_message

_PARENT_GONE = 1
_LOOK_S = 0.5


def preload(runtimes: Sequence[str]) -> None:
    """Imports what scoring with `runtimes` needs, as far as that goes: what is missing, the request will say."""
    import torch

    from bench.runtimes import RUNTIMES

    importlib.import_module("bench.measure.score")
    torch.set_num_threads(1)  # no pool of threads before the fork; a request sets its own number
    for name in runtimes:
        with contextlib.suppress(Exception):  # not or badly installed: each row will have its reason
            RUNTIMES[name].preload()


@contextlib.contextmanager
def _ending_with(parent: int) -> Iterator[None]:
    """Ends this process within a second of `parent`, by a timer's signal: a thread would be in the way of forks."""

    def look(_signal: int, _frame: object) -> None:
        if os.getppid() != parent:
            os._exit(_PARENT_GONE)

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    with _ending_with(int(sys.argv[1])), collector_off():
        preload(sys.argv[2:])
    gc.collect()
    gc.freeze()  # the collector of a forked process leaves these pages shared
    while line := sys.stdin.readline():
        _serve(*(Path(one) for one in json.loads(line)))


def _serve(question: Path, answer: Path, complaint: Path) -> None:
    """Forks one process, waits for it, and says how it ended; ends both when the parent is gone."""
    held_here, until_we_end = os.pipe()[::-1]
    until_it_ends, held_there = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(held_here)
        os.close(until_it_ends)
        _answer(question, answer, complaint, until_we_end)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it does the same: whoever is first
        os.setpgid(pid, pid)
    os.close(held_there)
    say(f"{FORKED}{pid}")
    ready, _, _ = select.select([sys.stdin, until_it_ends], [], [])
    if until_it_ends not in ready:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os._exit(_PARENT_GONE)
    _, status = os.waitpid(pid, 0)
    for pipe in (held_here, until_we_end, until_it_ends):
        os.close(pipe)
    say(f"\n{ENDED}{os.waitstatus_to_exitcode(status)}")


def _answer(question: Path, answer: Path, complaint: Path, until_parent_ends: int) -> NoReturn:
    """What the forked process does."""
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(complaint, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        end_with_parent(until_parent_ends)
        write_message(answer_to(read_message(question)), answer)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
