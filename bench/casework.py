"""What is done for one case, in two steps that may take place in two processes: its file is made, and is measured.

Whatever a case does, it comes to a record.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.errors import UsageError
from baselines.training import evaluate
from bench.environment import environment
from bench.estimate import Narrator
from bench.files import save_file
from bench.folders import no_more_room
from bench.job import Job, begun, to_measure
from bench.measure import Measured, Server, measure
from bench.plan import Case
from bench.records import RunRecord, write_record
from bench.stages import stages
from methods.base import Refused
from methods.graph import UntraceableError


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C: what tidies up in a library may fail at it, and hides the interrupt."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@dataclass(frozen=True)
class CaseWork:
    """Makes and measures the cases of one job, telling `narrator` of it; `server` forks the measuring processes."""

    job: Job
    narrator: Narrator
    server: Server

    def make(self, case: Case) -> RunRecord:
        """Writes the case's file, where it is not there. Returns what is known of the row before its file is measured;
        or the record of before, where it lacks nothing but some runtimes.

        Raises:
            Refused, UntraceableError: the case cannot be.
        """
        if case.refusal:
            raise Refused(case.refusal)
        if held := begun(self.job, case):
            return held
        made = stages(self.job, case, self.narrator)
        path = self.job.artifact_path(case)
        shipped = save_file(self.job, case, made[-1].model, path)
        return dataclasses.replace(
            self._blank(case),
            artifact=str(path.relative_to(self.job.out)),
            compress_s=sum(stage.seconds for stage in made[1:]),
            validation_accuracy=evaluate(
                shipped.to(self.job.device), self.job.data, "validation", device=self.job.device
            ),
            training=tuple(log for stage in made for log in stage.training),
            steps=tuple(step for stage in made for step in stage.steps),
        )

    def measured(self, case: Case, made: RunRecord) -> RunRecord:
        """The whole record of the case that `make` returned `made` for."""
        path = self.job.out / made.artifact
        if made.runtimes:
            again = self._measure(case, path, to_measure(made)).runtimes
            results = {result.runtime: result for result in (*made.runtimes, *again)}
            return dataclasses.replace(
                made, runtimes=tuple(results.values()), role=case.role, control_of=case.control_of
            )
        measured = self._measure(case, path, case.runtimes)
        return dataclasses.replace(
            made,
            environment=self._environment(case),  # of the machine that measures
            sha256=measured.sha256,
            file_bytes=measured.file_bytes,
            parameters=measured.parameters,
            nonzeros=measured.nonzeros,
            information_bits=measured.information_bits,
            macs=measured.macs,
            nonzero_macs=measured.nonzero_macs,
            weight_bytes=measured.weight_bytes,
            ledger=measured.ledger,
            runtimes=measured.runtimes,
            test_labels=measured.test_labels,
            class_names=measured.class_names,
        )

    def attempt(self, case: Case, step: Callable[[], RunRecord]) -> RunRecord:
        """What `step` returns, or a record with the reason why it did not.

        Raises:
            UsageError: nothing more can be written.
            KeyboardInterrupt: also where a library made another error of it.
        """
        try:
            return step()
        except (Refused, UntraceableError) as refusal:
            return self.unfinished(case, "refused", str(refusal))
        except Exception as error:  # the one broad catch: whatever a case does, the others run
            if _was_interrupted(error):
                raise KeyboardInterrupt from error
            if reason := no_more_room(error, (self.job.out, self.job.cache.folder)):
                raise UsageError(reason) from error
            log = self.job.out / "logs" / f"{case.id}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc(), encoding="utf-8")
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            return self.unfinished(case, "failed", f"{reason} (details in logs/{log.name})")

    def unfinished(self, case: Case, status: Any, reason: str) -> RunRecord:
        """The record of a case that came to nothing."""
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
            environment=self._environment(case),
        )

    def _environment(self, case: Case) -> dict[str, Any]:
        return environment() | {"device": self.job.device, "threads": case.threads}

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


def store(job: Job, case: Case, record: RunRecord) -> None:
    """Writes the case's record.

    Raises:
        UsageError: nothing more can be written.
    """
    try:
        write_record(record, job.record_path(case))
    except OSError as error:
        if reason := no_more_room(error, (job.out,)):
            raise UsageError(reason) from error
        raise
