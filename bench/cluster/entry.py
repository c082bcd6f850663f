"""Where a run takes place: in this process, or, by `--ray`, on the machines of a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.cluster.connection import connected, device_on, nodes
from bench.cluster.driver import RayRunner
from bench.cluster.hands import Hands
from bench.cluster.memory import memory_of
from bench.cluster.needs import Needs, complete
from bench.grammar import Methods
from bench.job import Job
from bench.options import Options
from bench.progress import Watcher
from bench.runner import OnRecord, Runner


@contextlib.contextmanager
def machines_for(options: Options) -> Iterator[str | None]:
    """Connects for the time of the block to the cluster of `--ray`. Gives "cpu" or "cuda", what its machines have;
    None where the run stays here.

    Raises:
        UsageError: there is no such cluster, or none of its machines has the device.
    """
    if not options.ray:
        yield None
        return
    with connected(options.ray):
        yield device_on(nodes(), options.device)


def runner_for(job: Job, methods: Methods, watcher: Watcher, on_record: OnRecord) -> Runner | RayRunner:
    """What carries out the job; on_record: given each record once it is written or kept from before.

    Raises:
        UsageError: no machine of the cluster holds one of its cases.
    """
    options = job.command.options
    if not options.ray:
        return Runner(job, watcher, on_record)
    asked = options.needs or Needs()
    memory = asked.memory or memory_of(job)
    needs = complete(asked, nodes(), job.device, memory, options.processes)
    return RayRunner(job, methods, watcher, Hands(needs, options.processes), on_record)
