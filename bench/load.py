"""What many cases cost the process that runs them: `python -m bench.load`. Writes docs/studies/load.md.

Runs so many rows of one small network, each from the network to its record, and counts the time between them: all that
is not training, compressing, writing the file, or scoring. Other processes do the measuring: the answer for the first
row is taken for all. Beside it, the memory of the supervisor of a whole command.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from bench import casework, runner
from bench.command import parse_command
from bench.inputs import make_job
from bench.job import claim
from bench.measure import Measured
from bench.records import RunRecord
from bench.study_page import made_at, made_by
from methods import METHODS

_LARGEST_OVERHEAD_S = 0.05
_LARGEST_SUPERVISOR = 300 * 10**6
_EARLY = 10  # cases after which what is loaded once is there
_COMMAND = Path("run_bench.py")
_NET = ("--net", "lenet300", "--epochs", "1", "--finetune-epochs", "0", "--runtimes", "eager", "--no-controls")
_WORK = ("stages", "save_file", "evaluate", "measure")  # of bench.casework: what a case is about
Result = TypeVar("Result")


@dataclass
class Load:
    """What so many cases took."""

    cases: int
    total_s: float = 0.0
    work_s: float = 0.0  # of it, in the work itself
    memory: dict[int, int] = field(default_factory=dict)  # bytes resident that no file backs, after so many cases

    @property
    def overhead_s(self) -> float:
        """A case's share of what is not its work."""
        return (self.total_s - self.work_s) / self.cases


class Silent:
    """A watcher who counts cases."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def say(self, text: str) -> None:
        """Nothing."""

    def case(self, index: int, count: int, label: str) -> None:
        """Notes the memory as the case begins."""
        if index == _EARLY or index % 100 == 0:
            self._load.memory[index] = own_memory()

    def step(self, text: str, done: float, left: float) -> None:
        """Nothing."""


def own_memory() -> int:
    """Bytes of this process that are resident and that no file backs (Linux)."""
    return _status("self", "RssAnon")


def supervisors_memory(folder: Path) -> int:
    """The most bytes that were ever resident of the supervisor of a command of two rows, in `folder`."""
    line = [sys.executable, str(_COMMAND.resolve()), *_NET, "--methods", "prune", "--out", "short", "--cache", "nets"]
    most = 0
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError, ValueError):  # it has just ended
                most = max(most, _status(str(process.pid), "VmHWM"))
            time.sleep(0.1)
    if process.returncode or not most:
        raise RuntimeError(f"the command ended with {process.returncode}")
    return most


def _status(process: str, name: str) -> int:
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"the status of a process has no {name}")


def run_load(cases: int, folder: Path) -> tuple[Load, list[RunRecord]]:
    """Runs `cases` rows and dense into `folder`."""
    chains = ",".join(f"prune:sparsity={index / (cases + 1):.5f}" for index in range(1, cases))
    folders = ("--out", str(folder / "run"), "--cache", str(folder / "nets"))
    job = make_job(parse_command([*_NET, "--methods", chains, *folders]), METHODS, print)
    claim(job)
    load = Load(len(job.plan.cases))
    with _timed(load):
        started = time.perf_counter()
        records = runner.Runner(job, Silent(load)).run()
        load.total_s = time.perf_counter() - started
    load.memory[len(records)] = own_memory()
    if wrong := [one.reason for one in records if one.status != "ok"]:
        raise RuntimeError(f"{len(wrong)} of {len(records)} cases did not run: {wrong[0]}")
    return load, records


@contextlib.contextmanager
def _timed(load: Load) -> Iterator[None]:
    """Counts the seconds that the runner spends on the work itself; a file is measured once for all."""
    first: list[Measured] = []
    whole = casework.measure

    def measure_once(path: Path, *arguments: Any, **settings: Any) -> Measured:
        if not first:
            first.append(whole(path, *arguments, **settings))
        data = path.read_bytes()
        return dataclasses.replace(first[0], file_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def timed(function: Callable[..., Result]) -> Callable[..., Result]:
        def inside(*arguments: Any, **settings: Any) -> Result:
            started = time.perf_counter()
            try:
                return function(*arguments, **settings)
            finally:
                load.work_s += time.perf_counter() - started

        return inside

    with contextlib.ExitStack() as patches:
        for name in _WORK:
            function = measure_once if name == "measure" else getattr(casework, name)
            patches.enter_context(patch.object(casework, name, timed(function)))
        yield


def page(load: Load, drawn_s: float, supervisor: int) -> str:
    """The study as Markdown."""
    quick, small = load.overhead_s <= _LARGEST_OVERHEAD_S, supervisor <= _LARGEST_SUPERVISOR
    verdict = {True: "met", False: "**not met**"}
    growth = (load.memory[load.cases] - load.memory[_EARLY]) / (load.cases - _EARLY)
    what = " ".join((__doc__ or "").split("\n\n", 1)[1].split())
    return f"""# What many cases cost

{made_by("bench.load")}. {made_at(("torch",))}

{what}

- {load.cases} cases took {load.total_s:.0f} s, {load.work_s:.0f} s of them the work itself:
  **{1e3 * load.overhead_s:.1f} ms of overhead a case** (at most {1e3 * _LARGEST_OVERHEAD_S:.0f}: {verdict[quick]}).
- The report of them all was drawn in {drawn_s:.1f} s, {1e3 * drawn_s / load.cases:.0f} ms a case.
- The supervisor of a command never took more than **{supervisor / 1e6:.0f} MB** (at most
  {_LARGEST_SUPERVISOR / 1e6:.0f}: {verdict[small]}); it holds none of the cases.
- The worker, which holds torch, the data and all records, grew by {growth / 1e3:.0f} kB a case:

| after cases | resident memory that no file backs, MB |
|---:|---:|
""" + "".join(f"| {count} | {size / 1e6:.0f} |\n" for count, size in sorted(load.memory.items()))


def main() -> int:
    """The command."""
    import reports

    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("docs/studies/load.md"))
    typed = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        load, records = run_load(typed.cases, Path(place))
        started = time.perf_counter()
        reports.draw(records, Path(place) / "run", title="load", command="python -m bench.load")
        drawn_s = time.perf_counter() - started
        text = page(load, drawn_s, supervisors_memory(Path(place)))
    typed.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
