"""Hands the cases of a job to machines and keeps the account of them: what waits, what is under way, what was lost.

A case is two tasks. Making its file takes the CPUs, GPUs and memory of `--needs`. Measuring it on a CPU takes a whole
machine, so that nothing else of the run is timed with it; on a GPU, that GPU. What a machine takes with it when it is
lost is done again from the last epoch elsewhere, since cache and folder are shared; the driver can go and come back for
the same reason.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from bench.casework import CaseWork, store
from bench.cluster import node as on_node
from bench.cluster.hands import Hands, Lost, Task
from bench.cluster.node import Share
from bench.cluster.order import waits
from bench.estimate import Meter, Narrator
from bench.grammar import Methods
from bench.job import Job
from bench.measure import Server
from bench.plan import Case
from bench.progress import Watcher
from bench.records import RunRecord
from bench.runner import OnRecord, kept, state_of, summary, title

_SHOW_S = 0.5
MOST_LOSSES = 3  # of one case: it may be what ends its processes


@dataclass
class RayRunner:
    """Carries out one job by `hands`, telling `watcher` of it.

    on_record: given each record, as it comes, once it is written or kept from before.
    """

    job: Job
    methods: Methods
    watcher: Watcher
    hands: Hands
    on_record: OnRecord = lambda _record: None
    _meter: Meter = field(default_factory=lambda: Meter({}), init=False)
    _records: dict[str, RunRecord] = field(default_factory=dict, init=False)
    _made: set[str] = field(default_factory=set, init=False)  # ids of cases whose file there is, or never will be
    _losses: Counter[str] = field(default_factory=Counter, init=False)

    def run(self) -> list[RunRecord]:
        """All records in plan order, as `bench.runner.Runner.run` returns them.

        Raises:
            UsageError: a machine cannot work on the run, or nothing more can be written.
        """
        job = self.job
        known, seconds = state_of(job)
        self._meter = Meter(seconds)
        for case in job.plan.cases:
            if case.id in known:
                self._keep(case, kept(job, case, known[case.id]), " (kept from before)")
        if len(known) < len(job.plan.cases):
            folders = (job.out, job.cache.folder)
            token = on_node.token_of(job)
            on_node.mark(folders, token)
            try:
                self.hands.take_up(on_node.assignment_of(job, self.methods, token))
                self._work()
            finally:
                self.hands.drop()
                on_node.unmark(folders, token)
        return [self._records[case.id] for case in job.plan.cases]

    def _work(self) -> None:
        job, hands = self.job, self.hands
        before = waits(job.plan, job.sizes, job.cache.has, self._records.keys())
        waiting = deque(job.plan.of(name) for name in before)
        machines, slots = len(hands.machines), hands.slots
        self.watcher.say(f"{machines} machine{'s' * (machines > 1)} by Ray: {slots} case{'s' * (slots > 1)} at once, "
                         f"each with {hands.needs}")  # fmt: skip
        shown = time.monotonic()
        while waiting or hands.running:
            hands.look()
            self._hand_out(waiting, before)
            for task, result in hands.wait():
                self._take(task, result, waiting)
            if time.monotonic() - shown >= _SHOW_S:
                shown = time.monotonic()
                self._show()

    def _hand_out(self, waiting: deque[Case], before: dict[str, frozenset[str]]) -> None:
        """Starts what can be started, in plan order, and takes it from `waiting`.

        So many that every machine has work and one case to go on with; none while measurements pile up, each of which
        needs a machine that is idle.
        """
        hands = self.hands
        steps = Counter(task.step for task in hands.running)
        room = hands.slots + len(hands.machines) - steps["make"] if hands.machines else 0
        if steps["measure"] >= 2 * len(hands.machines):
            return
        held = 0
        for _ in range(len(waiting)):
            if room <= 0:
                break
            case = waiting.popleft()
            if before[case.id] <= self._made:
                self._start(Task("make", case))
                room -= 1
            else:
                waiting.append(case)
                held += 1
        waiting.rotate(held)  # back to the front: the order stays

    def _start(self, task: Task) -> None:
        seconds = self._meter.expected[task.case.id]
        measuring = min(seconds, self.job.sizes.measure_s(len(task.case.runtimes)))
        self.hands.start(task, Share(task.case.id, seconds, seconds - measuring if task.step == "measure" else 0.0))

    def _take(self, task: Task, result: RunRecord | Lost, waiting: deque[Case]) -> None:
        """What came of a task: the next one, a record, or the case from its beginning."""
        if isinstance(result, Lost):
            self._lost(task, result, waiting)
            return
        self._made.add(task.case.id)
        self.hands.forget(task.case)
        if task.step == "make" and result.status == "ok":
            self._start(Task("measure", task.case, result))
        else:
            self._keep(task.case, result)

    def _lost(self, task: Task, why: Lost, waiting: deque[Case]) -> None:
        case, job = task.case, self.job
        self._losses[case.id] += 1
        if self._losses[case.id] < MOST_LOSSES:
            doing = "made" if task.step == "make" else "measured"
            self.watcher.say(f"{title(job, case)}: lost while it was {doing} ({why}); it runs again")
            waiting.appendleft(case)
            return
        work = CaseWork(job, Narrator(self.watcher, self._meter), Server(()))
        record = work.unfinished(case, "failed", f"its process was lost {MOST_LOSSES} times: {why}")
        store(job, case, record)
        self._keep(case, record)

    def _keep(self, case: Case, record: RunRecord, before: str = "") -> None:
        self._records[case.id] = record
        self._made.add(case.id)
        count = len(self.job.plan.cases)
        self.watcher.say(f"[{len(self._records)}/{count}] {title(self.job, case)}: {summary(record)}{before}")
        self._meter.finish(case.id)
        self.on_record(record)

    def _show(self) -> None:
        """Tells the watcher of what is under way."""
        steps, lines = self.hands.told()
        for line in lines:
            self.watcher.say(line)
        self._meter.case_s = sum(done for _, done in steps.values())
        self.watcher.case(len(self._records), len(self.job.plan.cases), f"{len(steps)} under way")
        if steps:
            told = [f"{title(self.job, self.job.plan.of(name))} {text}" for name, (text, _) in steps.items()]
            self.watcher.step("; ".join(told), *self._meter.reading())
