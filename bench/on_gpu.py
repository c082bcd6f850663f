"""All that a GPU is needed for, by one command: `python -m bench.on_gpu`.

The tests that need a GPU, the kernels' checks and tables, then a network trained on all of a data set, the rows of the
GPU's runtimes and the pruning matrix; last the kernels under compute-sanitizer. In this order, since a borrowed machine
may go away: each stage has a time limit of its own and the rest goes on when one fails. Typed again, it goes on where
it stopped: stages that were finished are kept, and a run takes up its epochs and rows. Below --out lie a log and the
results of each stage, and summary.md. `--small` tries all of it on a processor alone, in minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.study_page import made_at

_RATIOS = "sparsity=0.5/0.75/0.875/0.9375/0.96875"
_SCORES = "magnitude/lookahead/lookahead_bn/lookahead_act/taylor"
_CHANNELS = "prune:sparsity=0.5/0.75/0.875/0.9375:pattern=channels:of=parameters"
_CHAINS = "ptq,qat,dct:keep=0.25,prune:sparsity=0.9,prune:pattern=channels,prune:sparsity=0.9+qat,cluster:bits=4"
_MATRIX = (
    f"prune:{_RATIOS}:score={_SCORES},prune:{_RATIOS}:score=random:rates=magnitude,"
    f"prune:{_RATIOS}:pattern=block/2of4,{_CHANNELS},{_CHANNELS}:score=random:rates=magnitude"
)
_TAIL = 3  # lines of a failed stage's log in the summary


@dataclass(frozen=True)
class Stage:
    """A command, by its arguments to this Python, and the longest it may take in seconds."""

    name: str
    arguments: tuple[str, ...]
    limit_s: float


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: `ended` is its exit code, or None where it was stopped at its limit or never began."""

    name: str
    arguments: tuple[str, ...]
    ended: int | None
    seconds: float

    @property
    def text(self) -> str:
        if self.ended is None:
            return "stopped at its limit" if self.seconds else "not begun: no time was left"
        return "ok" if self.ended == 0 else f"failed with exit code {self.ended}"


def stages(out: Path, data_dir: Path, *, small: bool) -> list[Stage]:
    """The stages in order, with the limits that fit a quarter of an hour in all."""
    kernels = ["-m", "cuda_kernels", "--out", str(out / "kernels")]
    if small:
        common = ["--net", "lenet300", "--dataset", "digits", "--device", "cpu", "--epochs", "2", "--runtimes", "eager"]
        kernels = [*kernels, "--build-only"]
    else:
        common = ["--net", "resnet18", "--dataset", "folder", "--data-dir", str(data_dir / "cifar10-jpeg"),
                  "--device", "cuda"]  # fmt: skip
    common = ["run_bench.py", *common, "--finetune-epochs", "1" if small else "3", "--no-controls",
              "--cache", str(out / "cache")]  # fmt: skip
    runtimes = [] if small else ["--runtimes", "eager,bf16,fp16,cudagraphs,int8_gemm,cuda_kernels"]
    matrix = [] if small else ["--runtimes", "eager"]
    chains, pruned = ("ptq,prune:sparsity=0.5", "prune:sparsity=0.5/0.9") if small else (_CHAINS, _MATRIX)
    tests = ["-m", "pytest", "tests", "-m", "gpu", "--junitxml", str(out / "tests.xml")]
    return [
        Stage("tests", tuple(tests), 150),
        Stage("kernels", tuple(kernels), 180),
        Stage("chains", (*common, *runtimes, "--methods", chains, "--out", str(out / "chains")), 540),
        Stage("matrix", (*common, *matrix, "--methods", pruned, "--out", str(out / "matrix")), 540),
        Stage("sanitizer", tuple(kernels if small else [*kernels, "--sanitize"]), 240),
    ]


def perform(stage: Stage, limit_s: float, log: Path) -> Outcome:
    """Runs a stage with all it starts, and ends it at the limit: by an interrupt, which keeps what is done, first."""
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *stage.arguments], stdout=file, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            ended: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            ended = None
        finally:
            _end(process)
    return Outcome(stage.name, stage.arguments, ended, round(time.monotonic() - begun, 1))


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign, patience_s in ((signal.SIGINT, 15), (signal.SIGKILL, 15)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)


def carry_out(planned: Sequence[Stage], out: Path, minutes: float) -> list[Outcome]:
    """Performs what no earlier call has finished, for so long at most; writes summary.md after each stage."""
    latest, outcomes = time.monotonic() + 60 * minutes, dict[str, Outcome]()
    kept = out / "stages.json"
    if kept.is_file():
        before = [
            Outcome(one["name"], tuple(one["arguments"]), one["ended"], one["seconds"])
            for one in json.loads(kept.read_text(encoding="utf-8"))
        ]
        asked = {(stage.name, stage.arguments) for stage in planned}
        outcomes = {one.name: one for one in before if one.ended == 0 and (one.name, one.arguments) in asked}
    for stage in planned:
        left = latest - time.monotonic()
        if stage.name not in outcomes:
            print(f"{stage.name}: {shlex.join(('python', *stage.arguments))}", flush=True)
            limit_s, outcome = min(stage.limit_s, left), Outcome(stage.name, stage.arguments, None, 0.0)
            if limit_s > 0:
                outcome = perform(stage, limit_s, out / f"{stage.name}.log")
            outcomes[stage.name] = outcome
        print(f"{stage.name}: {outcomes[stage.name].text}, {outcomes[stage.name].seconds:.0f} s", flush=True)
        found = [outcomes[one.name] for one in planned if one.name in outcomes]
        kept.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
        (out / "summary.md").write_text(summary(found, out), encoding="utf-8")
    return [outcomes[stage.name] for stage in planned]


def summary(outcomes: Sequence[Outcome], out: Path) -> str:
    """The page: each stage's command, how it ended, and the last lines of what failed."""
    lines = ["# What needs a GPU", "", made_at(), "", "| stage | result | seconds | command |", "|---|---|---:|---|"]
    for one in outcomes:
        lines.append(f"| {one.name} | {one.text} | {one.seconds:.0f} | `{shlex.join(('python', *one.arguments))}` |")
    for one in outcomes:
        log = out / f"{one.name}.log"
        if one.ended != 0 and log.is_file():
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
            lines += ["", f"The end of {log.name}:", "", *(f"    {line}" for line in said)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """The command. Returns 0 where every stage ended well, 1 where one did not, 2 where nothing could be begun."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.on_gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/on_gpu"), help="folder for what is written")
    parser.add_argument("--data-dir", type=Path, default=Path(".data"), help="where cifar10-jpeg lies")
    parser.add_argument("--minutes", type=float, default=14.0, help="for all stages together (default: 14)")
    parser.add_argument("--small", action="store_true", help="the same stages on a processor, at small size")
    typed = parser.parse_args()
    if not typed.minutes > 0:
        parser.error(f"--minutes must be positive, got {typed.minutes}")
    if reason := _unfit(typed):
        print(f"bench.on_gpu: {reason}", file=sys.stderr)
        return 2
    typed.out.mkdir(parents=True, exist_ok=True)
    outcomes = carry_out(stages(typed.out, typed.data_dir, small=typed.small), typed.out, typed.minutes)
    print(f"wrote {typed.out / 'summary.md'}")
    return 0 if all(one.ended == 0 for one in outcomes) else 1


def _unfit(typed: argparse.Namespace) -> str | None:
    if typed.small:
        return None
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no GPU here: --small tries the stages on a processor"
    if not (typed.data_dir / "cifar10-jpeg").is_dir():
        return f"{typed.data_dir / 'cifar10-jpeg'} is not a folder: it holds CIFAR-10 as folders of classes"
    return None


if __name__ == "__main__":
    sys.exit(main())
