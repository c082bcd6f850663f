"""One of the processes that train together: `python -m bench.ranks.rank FOLDER`, started by torchrun.

All ranks do the same, and the first one writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.ranks.ending import end_when_closed

if TYPE_CHECKING:
    from baselines.world import World
    from bench.estimate import Meter
    from bench.job import Job
    from bench.ranks.messages import Request

_PATIENCE = datetime.timedelta(days=2)  # with a rank that writes a file or waits for a disk, while the others wait
_STEP = datetime.timedelta(minutes=30)  # the most between two exchanges of tensors
_TOLD_EVERY_S = 0.1


def main() -> None:
    end_when_closed(sys.stdin.fileno())
    shared, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    from bench.ranks.messages import DIGEST, Failure, Request

    try:
        _work(Request.read(shared, os.environ.pop(DIGEST)), rank)
        code = 0
    except BaseException as error:
        Failure.of(rank, error).write(shared)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: what broke would wait for the others, and what is done has been written


def _work(request: Request, rank: int) -> None:
    from bench.estimate import Meter, Narrator
    from bench.stages import stages
    from bench.task import dense_after

    os.chdir(request.folder)
    meter = Meter({})
    wire = _Wire(meter, rank == 0)
    narrator = Narrator(wire, meter)
    with joined_world(rank, request.case.source.device.startswith("cuda")) as world:
        job = _job(request, world, wire)
        if request.rewound_to is None:
            stages(job, request.case, narrator)
        else:
            dense_after(job, request.case, narrator, request.rewound_to)
        world.wait()


@contextlib.contextmanager
def joined_world(rank: int, cuda: bool) -> Iterator[World]:
    """The ranks, which exchange gradients by NCCL where they have GPUs; closed only where all went well."""
    import torch
    import torch.distributed as dist

    from baselines.world import World

    if cuda:
        torch.cuda.set_device(rank)
    dist.init_process_group("gloo", timeout=_PATIENCE)
    tensors = dist.new_group(backend="nccl" if cuda else "gloo", timeout=_STEP)
    yield World(rank, dist.get_world_size(), tensors, dist.group.WORLD)
    dist.destroy_process_group()


def _job(request: Request, world: World, watcher: _Wire) -> Job:
    """The job of the command as this rank carries it out."""
    from bench.cache import StageCache
    from bench.inputs import make_job
    from methods import METHODS

    job = make_job(request.command, METHODS, lambda _: None, described=request.case.source.data)
    device = f"cuda:{world.rank}" if job.device.startswith("cuda") else job.device
    cache = StageCache(job.cache.folder, watcher.complain, world)
    return dataclasses.replace(job, world=world, device=device, cache=cache)


class _Wire:
    """A watcher that hands on what it is told, at most ten times a second; of ranks that are silent, nothing."""

    def __init__(self, meter: Meter, loud: bool) -> None:
        self._meter, self._loud = meter, loud
        self._last = 0.0

    def say(self, text: str) -> None:
        self._send(say=text)

    def complain(self, text: str) -> None:
        """A line about the cache, which may have been told before."""
        self._send(complain=text)

    def case(self, index: int, count: int, label: str) -> None:
        """There is one case, of which whoever asked knows more."""

    def step(self, text: str, done: float, left: float) -> None:
        if time.monotonic() - self._last >= _TOLD_EVERY_S:
            self._last = time.monotonic()
            self._send(step=text, case_s=self._meter.case_s)

    def _send(self, **what: Any) -> None:
        if self._loud:
            from bench.ranks.messages import PROGRESS

            sys.stdout.write(f"{PROGRESS}{json.dumps(what)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
