"""Runs a plan's cases: writes one file a case, has it measured, keeps one record.

Every step can be repeated: what a kill interrupts is done again from the last epoch, what is whole is not touched.
"""

from __future__ import annotations

import dataclasses
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baselines.errors import UsageError
from baselines.training import evaluate
from bench.environment import environment
from bench.estimate import Meter, Narrator, cached, plan_seconds
from bench.files import save_file
from bench.folders import no_more_room
from bench.job import Job, begun, finished, to_measure
from bench.measure import Measured, Server, measure
from bench.plan import Case
from bench.progress import Watcher
from bench.records import RunRecord, write_record
from bench.stages import stages
from bench.supervisor import begin, why_blamed
from methods.base import Refused
from methods.graph import UntraceableError


@dataclass
class Runner:
    """Carries out one job, telling `watcher` of it."""

    job: Job
    watcher: Watcher
    narrator: Narrator = field(init=False)
    server: Server = field(init=False)

    def run(self) -> list[RunRecord]:
        """All records in plan order. A case that fails is a record with its reason and stops nothing."""
        job = self.job
        known = {case.id: record for case in job.plan.cases if (record := finished(job, case))}
        have = cached(job.plan, job.sizes, job.cache.has)
        self.narrator = Narrator(self.watcher, Meter(plan_seconds(job.plan, job.sizes, have, set(known))))
        records = []
        with Server(dict.fromkeys(name for case in job.plan.cases for name in case.runtimes)) as self.server:
            for index, case in enumerate(job.plan.cases, start=1):
                self.watcher.case(index, len(job.plan.cases), self._title(case))
                record = self._kept(case, known[case.id]) if case.id in known else self._attempt(case)
                kept = " (kept from before)" if case.id in known else ""
                self.watcher.say(f"[{index}/{len(job.plan.cases)}] {self._title(case)}: {summary(record)}{kept}")
                self.narrator.meter.finish(case.id)
                records.append(record)
        return records

    def _title(self, case: Case) -> str:
        several = len({case.seed for case in self.job.plan.cases}) > 1
        return f"{case.label} seed {case.seed}" if several else case.label

    def _kept(self, case: Case, record: RunRecord) -> RunRecord:
        """The record of before, as what this plan has it for."""
        now = dataclasses.replace(record, role=case.role, control_of=case.control_of)
        if now != record:
            write_record(now, self.job.record_path(case))
        return now

    def _attempt(self, case: Case) -> RunRecord:
        begin(case.id)
        try:
            if case.refusal:
                raise Refused(case.refusal)
            why = why_blamed(case.id)
            record = self._unfinished(case, "failed", why) if why else self._run_case(case)
        except (Refused, UntraceableError) as refusal:
            record = self._unfinished(case, "refused", str(refusal))
        except Exception as error:  # the one broad catch: whatever a case does, the others run
            if reason := no_more_room(error, (self.job.out, self.job.cache.folder)):
                raise UsageError(reason) from error
            log = self.job.out / "logs" / f"{case.id}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc(), encoding="utf-8")
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            record = self._unfinished(case, "failed", f"{reason} (details in logs/{log.name})")
        write_record(record, self.job.record_path(case))
        begin("")
        return record

    def _unfinished(self, case: Case, status: Any, reason: str) -> RunRecord:
        return dataclasses.replace(self._blank(case), status=status, reason=reason)

    def _blank(self, case: Case) -> RunRecord:
        source = case.source
        return RunRecord(
            case_id=case.id,
            net=source.net["spec"],
            dataset=source.data["title"],
            chain=case.text,
            label=case.label,
            seed=case.seed,
            recipe=dataclasses.asdict(source.recipe),
            status="ok",
            role=case.role,
            control_of=case.control_of,
            environment=environment() | {"device": self.job.device, "threads": case.threads},
        )

    def _run_case(self, case: Case) -> RunRecord:
        if held := begun(self.job, case):
            again = self._measure(case, self.job.artifact_path(case), to_measure(held)).runtimes
            results = {result.runtime: result for result in (*held.runtimes, *again)}
            return dataclasses.replace(
                held, runtimes=tuple(results.values()), role=case.role, control_of=case.control_of
            )
        made = stages(self.job, case, self.narrator)
        path = self.job.artifact_path(case)
        shipped = save_file(self.job, case, made[-1].model, path)
        validation = evaluate(shipped.to(self.job.device), self.job.data, "validation", device=self.job.device)
        measured = self._measure(case, path, case.runtimes)
        return dataclasses.replace(
            self._blank(case),
            artifact=str(path.relative_to(self.job.out)),
            sha256=measured.sha256,
            file_bytes=measured.file_bytes,
            parameters=measured.parameters,
            nonzeros=measured.nonzeros,
            information_bits=measured.information_bits,
            macs=measured.macs,
            nonzero_macs=measured.nonzero_macs,
            weight_bytes=measured.weight_bytes,
            compress_s=sum(stage.seconds for stage in made[1:]),
            validation_accuracy=validation,
            ledger=measured.ledger,
            training=tuple(log for stage in made for log in stage.training),
            steps=tuple(step for stage in made for step in stage.steps),
            runtimes=measured.runtimes,
            test_labels=measured.test_labels,
            class_names=measured.class_names,
        )

    def _measure(self, case: Case, path: Path, runtimes: tuple[str, ...]) -> Measured:
        dense = None
        if case.chain:
            dense_case = next(one for one in self.job.plan.cases if one.chain is None and one.seed == case.seed)
            dense = self.job.artifact_path(dense_case)
            if not dense.is_file():
                raise RuntimeError("there is no dense file to compare with: the dense case failed")
        meter = self.narrator.meter
        spent, share = meter.case_s, self.job.sizes.measure_s(len(runtimes))
        steps = 1 + 4 * len(runtimes)
        seen = 0

        def on_step(text: str) -> None:
            nonlocal seen
            seen += 1
            meter.case_s = spent + share * min(1.0, seen / steps)
            self.narrator.tell(f"measuring: {text}")

        self.narrator.tell("measuring: starting")
        return measure(
            path,
            dense,
            runtimes=runtimes,
            threads=case.threads,
            device=self.job.device,
            data={**self.job.data_request, "data_dir": str(Path(self.job.data_request["data_dir"]).resolve())},
            work=self.job.out / "work",
            progress=on_step,
            server=self.server,
        )


def summary(record: RunRecord) -> str:
    """One line for the terminal."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    scores = [result.accuracy for result in record.runtimes if result.accuracy]
    accuracy = f"{100 * scores[0].correct / scores[0].seen:.2f} % correct, " if scores else ""
    return f"{accuracy}{record.file_bytes:,} bytes"
