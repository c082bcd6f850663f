"""A cluster that is only computed: the driver's own account of a run, with a clock that jumps from end to end.

It tells how long a plan takes on machines that are not there, with all that waits for all.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.cluster.hands import Lost, Task
from bench.cluster.needs import Needs, Node
from bench.cluster.node import Assignment, Share
from bench.plan import Case
from bench.records import RunRecord


@dataclass
class VirtualHands:
    """Machines that are all alike, in place of `bench.cluster.hands.Hands`.

    seconds: of a task. answer: the record that it comes to.
    """

    needs: Needs
    machines: list[Node]
    seconds: Callable[[Task], float]
    answer: Callable[[Task], RunRecord]
    now: float = field(default=0.0, init=False)  # seconds since the beginning
    busy: float = field(default=0.0, init=False)  # seconds of slots that were at work
    _queue: deque[Task] = field(default_factory=deque, init=False)
    _ends: list[tuple[float, int, str, int, Task]] = field(default_factory=list, init=False)
    _free: dict[str, int] = field(default_factory=dict, init=False)  # slots, by machine
    _started: int = field(default=0, init=False)

    @property
    def slots(self) -> int:
        return sum(one.slots(self.needs) for one in self.machines)

    @property
    def running(self) -> list[Task]:
        return [*self._queue, *(task for *_, task in self._ends)]

    def take_up(self, assignment: Assignment) -> None:
        self._free = {one.id: one.slots(self.needs) for one in self.machines}

    def look(self) -> None:
        """They stay as they are."""

    def start(self, task: Task, share: Share) -> None:
        self._queue.append(task)

    def wait(self) -> list[tuple[Task, RunRecord | Lost]]:
        """Places what finds room, and goes on to the next end."""
        left: deque[Task] = deque()
        while self._queue:
            task = self._queue.popleft()
            if not self._place(task):
                left.append(task)
        self._queue = left
        self.now, _, machine, took, task = heapq.heappop(self._ends)
        self._free[machine] += took
        return [(task, self.answer(task))]

    def _place(self, task: Task) -> bool:
        """Where there is most room; measuring on a CPU takes all of a machine."""
        machine = max(self._free, key=self._free.__getitem__)
        all_of_it = self.machines[0].slots(self.needs)
        took = all_of_it if task.step == "measure" and not self.needs.gpus else 1
        if self._free[machine] < took:
            return False
        self._free[machine] -= took
        seconds = self.seconds(task)
        self.busy += seconds * took
        self._started += 1
        heapq.heappush(self._ends, (self.now + seconds, self._started, machine, took, task))
        return True

    def told(self) -> tuple[dict[str, tuple[str, float]], list[str]]:
        return {}, []

    def forget(self, case: Case) -> None:
        """Nothing was told of it."""

    def drop(self) -> None:
        """Nothing runs."""
