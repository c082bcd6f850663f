"""What a driver does with Ray: knows the machines, starts tasks on them, and hears of them."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from baselines.errors import UsageError
from bench.cluster import node as on_node
from bench.cluster.board import Board
from bench.cluster.connection import nodes, the_ray
from bench.cluster.needs import Needs, Node
from bench.cluster.node import Assignment, Share
from bench.measure.process import THREAD_VARIABLES, TRAINING_VARIABLES
from bench.plan import Case
from bench.records import RunRecord

_LOOK_S = 1.0
_NODES_S = 5.0
_CHECK_S = 300.0  # a busy machine takes its time to import torch


@dataclass(frozen=True)
class Task:
    """One step of one case."""

    step: Literal["make", "measure"]
    case: Case
    made: RunRecord | None = None  # what is to be measured


class Lost(RuntimeError):
    """The process that worked on a task is gone, or broke beside the case, or its machine; the message is one line."""


@dataclass
class Hands:
    """The cluster that this process is connected to.

    processes: that train a network together, and share the CPUs of the case. make, measure: run there; see
    `bench.cluster.node`.
    """

    needs: Needs
    processes: int = 1
    make: Callable[..., RunRecord] = on_node.make
    measure: Callable[..., RunRecord] = on_node.measure
    machines: list[Node] = field(default_factory=list, init=False)
    _looked: float = field(default=float("-inf"), init=False)
    _assignment: Any = field(default=None, init=False)  # Ray's reference
    _board: Any = field(default=None, init=False)
    _functions: dict[str, Any] = field(default_factory=dict, init=False)  # as Ray calls them, by step
    _running: dict[Any, Task] = field(default_factory=dict, init=False)  # by Ray's reference
    _alone: Counter[str] = field(default_factory=Counter, init=False)  # tasks that have a machine, by its id
    _places: dict[Any, str] = field(default_factory=dict, init=False)

    def take_up(self, assignment: Assignment) -> None:
        """Gets to work on a run.

        Raises:
            UsageError: a machine cannot work on it.
        """
        ray = the_ray()
        # On GPUs a process for each task: one that torch has shown a GPU works on that one for good and holds memory of
        # it, and Ray may give it another one next, or the same one to another process.
        remote = ray.remote(max_calls=1) if self.needs.gpus else ray.remote
        self._functions = {"make": remote(self.make), "measure": remote(self.measure)}
        self._assignment = ray.put(assignment)
        self._board = ray.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
        self.look()
        ask, settings = ray.remote(on_node.unfit), self._settings()
        asked = {ask.options(**settings, **_only_on(one), num_cpus=0).remote(assignment): one for one in self.machines}
        try:
            _hear(asked)
        except BaseException:  # also Control-C: a machine that is not waited for has nothing to answer
            for reference in asked:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(reference, force=True)
            raise

    def look(self) -> None:
        """Sees what the cluster has now: machines come and go."""
        now = time.monotonic()
        if now - self._looked >= _NODES_S:
            self._looked = now
            self.machines = nodes()

    @property
    def slots(self) -> int:
        """Cases that can be made at once."""
        return sum(one.slots(self.needs) for one in self.machines)

    @property
    def running(self) -> list[Task]:
        """What has been started and has not come back."""
        return list(self._running.values())

    def start(self, task: Task, share: Share) -> None:
        """Has the task done as soon as a machine has room."""
        needs = self.needs
        arguments = [self._assignment, share, self._board, needs.cpus]
        settings: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "memory": needs.memory}
        alone = None
        if task.step == "measure":
            arguments.append(task.made)
            if not needs.gpus and self.machines:  # with none there now, the next one that comes
                alone = min(self.machines, key=lambda one: self._alone[one.id])
                settings = {"num_cpus": alone.cpus, **_only_on(alone)}
        reference = self._functions[task.step].options(**self._settings(), **settings).remote(*arguments)
        self._running[reference] = task
        if alone:
            self._alone[alone.id] += 1
            self._places[reference] = alone.id

    def wait(self) -> list[tuple[Task, RunRecord | Lost]]:
        """What has come back within a second.

        Raises:
            UsageError: a machine cannot work on the run, or nothing more can be written.
        """
        ray = the_ray()
        if not self._running:
            time.sleep(_LOOK_S)  # until there is a machine
            return []
        ray.wait(list(self._running), num_returns=1, timeout=_LOOK_S)
        done, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)  # and what came with it
        came: list[tuple[Task, RunRecord | Lost]] = []
        for reference in done:
            task = self._running.pop(reference)
            self._alone[self._places.pop(reference, "")] -= 1
            try:
                came.append((task, ray.get(reference)))
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, UsageError):
                    raise UsageError(f"--ray: {error.cause}") from error
                came.append((task, Lost(f"{type(error.cause).__name__}: {_line(error.cause)}")))
            except ray.exceptions.RayError as error:
                self._looked = float("-inf")  # a machine may be gone
                came.append((task, Lost(_line(error))))
        return came

    def told(self) -> tuple[dict[str, tuple[str, float]], list[str]]:
        """Of the cases under way, by id, what they are at and their estimated seconds that are done; and lines that
        are to stay."""
        ray = the_ray()
        try:
            steps, lines = ray.get(self._board.read.remote(), timeout=_LOOK_S)
        except ray.exceptions.RayError:  # late, or lost with its machine: it comes again
            return {}, []
        under_way = {task.case.id for task in self._running.values()}
        return {name: step for name, step in steps.items() if name in under_way}, lines

    def forget(self, case: Case) -> None:
        """The case is at nothing now."""
        self._board.forget.remote(case.id)

    def drop(self) -> None:
        """Ends what is under way."""
        for reference in self._running:
            the_ray().cancel(reference, force=True)

    def _settings(self) -> dict[str, Any]:
        threads = str(max(1, (self.needs.cpus or 1) // self.processes))
        variables = TRAINING_VARIABLES | dict.fromkeys(THREAD_VARIABLES, threads)
        return {"runtime_env": {"env_vars": variables}, "max_retries": 0}


def _hear(asked: dict[Any, Node]) -> None:
    """Waits for the machines' answers, by Ray's references, as they come and for so long in all.

    Raises:
        UsageError: a machine cannot work on the run, or has not answered.
    """
    ray = the_ray()
    latest, waiting = time.monotonic() + _CHECK_S, dict(asked)
    while waiting:
        come, _ = ray.wait(list(waiting), num_returns=1, timeout=max(0.0, latest - time.monotonic()))
        if come:
            one = waiting.pop(come[0])
            try:
                why = ray.get(come[0])
            except ray.exceptions.RayError as error:
                why = _line(error)
        else:
            one = next(iter(waiting.values()))
            why = f"it has not answered within {_CHECK_S:.0f} s: see whether it is busy or cannot be reached"
        if why:
            raise UsageError(f"--ray: the machine {one.address} cannot take part: {why}")


def _only_on(machine: Node) -> dict[str, Any]:
    """Settings of a task that runs on that machine or nowhere."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(machine.id, soft=False)}


def _line(error: BaseException) -> str:
    """An error of Ray's in one line: the first sentence, which says what ended."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0].split(". ")[0].rstrip(".") if lines else type(error).__name__)[:300]
