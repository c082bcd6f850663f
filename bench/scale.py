"""What very many cases take on many machines.

The first part runs a plan through the driver and a real Ray of this machine, with tasks that do nothing but write the
record of another case: what is left is what the driver and Ray add to each case. The second part runs plans through the
same driver on machines that are only computed (bench/cluster/virtual.py), each case for the minutes that a column says:
what is lost is what waiting for dense networks, for shared stages and for the last cases costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.cluster.connection import connected, nodes
from bench.cluster.driver import RayRunner
from bench.cluster.hands import Hands, Task
from bench.cluster.needs import Needs, Node, complete
from bench.cluster.virtual import VirtualHands
from bench.command import parse_command
from bench.inputs import make_job
from bench.job import Job, claim
from bench.records import RunRecord, read_record, write_record
from bench.study_page import made_at, made_by
from methods import METHODS

_NET = ("--net", "lenet300", "--dataset", "digits", "--runtimes", "eager", "--no-controls")
_TEMPLATE = "docs/studies/resnet18-digits/records"  # records of a usual size
_MINUTES = (1.0, 5.0, 15.0, 60.0)  # of making a case, dense ones too
_MEASURING = 1.0  # minutes
_GPUS_A_MACHINE = 8


class _Silent:
    """A watcher who shows nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def case(self, index: int, count: int, label: str) -> None:
        """Nothing."""

    def step(self, text: str, done: float, left: float) -> None:
        """Nothing."""


def job_of(chains: int, seeds: int, folder: Path) -> Job:
    """A job of `seeds` times (`chains` + 1) cases, of which every second chain begins with another one."""
    rates = [f"{(index + 1) / (chains + 2):.6f}" for index in range(math.ceil(chains / 2))]
    texts = [text for rate in rates for text in (f"prune:sparsity={rate}", f"prune:sparsity={rate}+ptq")][:chains]
    where = ("--out", str(folder / "run"), "--cache", str(folder / "nets"))
    all_seeds = ",".join(map(str, range(seeds)))
    command = parse_command([*_NET, "--methods", ",".join(texts), "--seeds", all_seeds, *where])
    job = make_job(command, METHODS, print)
    claim(job)
    return job


def on_this_machine(job: Job) -> tuple[float, int, int]:
    """Seconds of the whole job by Ray with tasks that do next to nothing, this process's most memory in bytes before
    the run, and after it."""
    template = read_record(next(iter(sorted(Path(_TEMPLATE).glob("*.json")))))
    records = job.out / "records"

    def make(_assignment: Any, share: Any, _board: Any, _cpus: int) -> RunRecord:
        return dataclasses.replace(template, case_id=share.case_id, runtimes=())

    def measure(_assignment: Any, share: Any, _board: Any, _cpus: int, _made: RunRecord) -> RunRecord:
        record = dataclasses.replace(template, case_id=share.case_id)
        write_record(record, records / f"{share.case_id}.json")
        return record

    with connected("local"):
        hands = Hands(complete(Needs(cpus=1), nodes(), "cpu", 10**8), 1, make, measure)
        before = _most_memory()
        started = time.perf_counter()
        found = RayRunner(job, METHODS, _Silent(), hands).run()
        seconds = time.perf_counter() - started
    if len(found) != len(job.plan.cases):
        raise RuntimeError(f"{len(found)} records of {len(job.plan.cases)} cases")
    return seconds, before, _most_memory()


def _most_memory() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def computed(job: Job, gpus: int, minutes: float) -> tuple[float, float]:
    """(hours, share of the GPUs' time that was used) of the job, each case being made in so many minutes."""
    machines = [Node(str(index), "", 64, _GPUS_A_MACHINE, 2**40) for index in range(gpus // _GPUS_A_MACHINE)]
    if rest := gpus % _GPUS_A_MACHINE:
        machines.append(Node("rest", "", 8 * rest, rest, 2**40))
    blank = read_record(next(iter(sorted(Path(_TEMPLATE).glob("*.json")))))

    def answer(task: Task) -> RunRecord:
        return dataclasses.replace(blank, case_id=task.case.id)

    needs = complete(Needs(), machines, "cuda", 2**30)
    hands = VirtualHands(needs, machines, lambda task: 60 * (minutes if task.step == "make" else _MEASURING), answer)
    RayRunner(job, METHODS, _Silent(), hands).run()  # type: ignore[arg-type]
    return hands.now / 3600, hands.busy / (hands.now * gpus)


def page(job: Job, spent: tuple[float, int, int], rows: list[tuple[float, float, float]], gpus: int) -> str:
    """The study as Markdown."""
    cases = len(job.plan.cases)
    seconds, before, after = spent
    seeds = len({case.seed for case in job.plan.cases})
    what = " ".join((__doc__ or "").split("\n\n", 1)[1].split())
    lines = "".join(
        f"| {minutes:g} | {cases * (minutes + _MEASURING) / gpus / 60:.1f} | {hours:.1f} | {100 * used:.0f} % |\n"
        for minutes, hours, used in rows
    )
    return f"""# What {cases:,} cases on {gpus} GPUs take

{made_by("bench.scale")}. {made_at(("torch",))}

{what}

The plan has {cases:,} cases: {seeds} seeds of a dense network and {cases // seeds - 1} chains on it, every second of
which goes on from what another one made.

- Driver and Ray on one machine: {seconds:.0f} s for all cases, **{1e3 * seconds / cases:.1f} ms a case**, two tasks and
  a record each.
- The driver's memory: {before / 1e6:.0f} MB before the run, at most {after / 1e6:.0f} MB in it:
  {(after - before) / cases / 1e3:.0f} kB a case, which is its record.

On {gpus} GPUs, one a case, {_GPUS_A_MACHINE} a machine, with {_MEASURING:g} minute of measuring a case (computed, not
run: no GPU was there):

| minutes to make a case | hours, if nothing waited | hours | of the GPUs' time used |
|---:|---:|---:|---:|
{lines}"""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--chains", type=int, default=99)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--gpus", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("docs/studies/scale.md"))
    typed = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        job = job_of(typed.chains, typed.seeds, Path(place))
        rows = [(minutes, *computed(job, typed.gpus, minutes)) for minutes in _MINUTES]
        spent = on_this_machine(job)
        text = page(job, spent, rows, typed.gpus)
    typed.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
