"""Runs a plan's cases one after another: one file a case, measured, one record.

Every step can be repeated: what a kill interrupts is done again from the last epoch, what is whole is not touched.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.casework import CaseWork, store
from bench.estimate import Meter, Narrator, cached, plan_seconds
from bench.job import Job, finished
from bench.measure import Server
from bench.plan import Case
from bench.progress import Watcher
from bench.records import RunRecord
from bench.supervisor import begin, why_blamed

OnRecord = Callable[[RunRecord], None]
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone


@dataclass
class Runner:
    """Carries out one job in this process, telling `watcher` of it.

    on_record: given each record, in the order in which they come, once it is written or kept from before.
    """

    job: Job
    watcher: Watcher
    on_record: OnRecord = lambda _record: None
    work: CaseWork = field(init=False)

    def run(self) -> list[RunRecord]:
        """All records in plan order. A case that fails is a record with its reason and stops nothing."""
        job = self.job
        known, seconds = state_of(job)
        meter = Meter(seconds)
        records = []
        with Server(runtimes_of(job)) as server:
            self.work = CaseWork(job, Narrator(self.watcher, meter), server)
            for index, case in enumerate(job.plan.cases, start=1):
                self.watcher.case(index, len(job.plan.cases), title(job, case))
                record = kept(job, case, known[case.id]) if case.id in known else self._attempt(case)
                before = " (kept from before)" if case.id in known else ""
                self.watcher.say(f"[{index}/{len(job.plan.cases)}] {title(job, case)}: {summary(record)}{before}")
                meter.finish(case.id)
                self.on_record(record)
                _give_back_memory()
                records.append(record)
        return records

    def _attempt(self, case: Case) -> RunRecord:
        begin(case.id)
        work = self.work
        if why := why_blamed(case.id):
            record = work.unfinished(case, "failed", why)
        else:
            record = work.attempt(case, lambda: work.measured(case, work.make(case)))
        store(self.job, case, record)
        begin("")
        return record


def state_of(job: Job) -> tuple[dict[str, RunRecord], dict[str, float]]:
    """The records that there are and need no more work, and the estimated seconds of every case, both by case id."""
    known = {case.id: record for case in job.plan.cases if (record := finished(job, case))}
    have = cached(job.plan, job.sizes, job.cache.has)
    return known, plan_seconds(job.plan, job.sizes, have, set(known))


def runtimes_of(job: Job) -> tuple[str, ...]:
    """All runtimes that the job's files are measured in."""
    return tuple(dict.fromkeys(name for case in job.plan.cases for name in case.runtimes))


def title(job: Job, case: Case) -> str:
    """What a person reads of a case while it runs."""
    return f"{case.label} seed {case.seed}" if job.plan.has_seeds else case.label


def kept(job: Job, case: Case, record: RunRecord) -> RunRecord:
    """The record of before, as what this plan has it for."""
    now = dataclasses.replace(record, role=case.role, control_of=case.control_of)
    if now != record:
        store(job, case, now)
    return now


def _give_back_memory() -> None:
    """Hands to the system what a case has freed: glibc keeps it otherwise, a little more after each case."""
    if _trim is not None:
        _trim(0)


def summary(record: RunRecord) -> str:
    """One line for the terminal."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    scores = [result.accuracy for result in record.runtimes if result.accuracy]
    accuracy = f"{100 * scores[0].correct / scores[0].seen:.2f} % correct, " if scores else ""
    return f"{accuracy}{record.file_bytes:,} bytes"
