"""All that a GPU is needed for, by one command: `python -m bench.on_gpu`.

The tests that need a GPU, the kernels' checks and tables, then a network trained on all of a data set, the rows of the
GPU's runtimes and the pruning matrix; last the kernels under compute-sanitizer. In this order, since a borrowed machine
may go away: each stage has a time limit of its own and the rest goes on when one fails. Typed again, it goes on where
it stopped: stages that were finished with the same code on the same GPU are kept, and a run takes up its epochs and
rows. Below --out lie a log and the results of each stage, and summary.md. `--small` tries all but the last on a
processor alone, in minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from bench.environment import commit, gpus
from bench.records import write_json
from bench.study_page import made_at

_ROOT = Path(__file__).resolve().parents[1]
_RATIOS = "sparsity=0.5/0.75/0.875/0.9375/0.96875"
_SCORES = "magnitude/lookahead/lookahead_bn/lookahead_act/taylor"
_CHANNELS = "prune:sparsity=0.5/0.75/0.875/0.9375:pattern=channels:of=parameters"
_CHAINS = "ptq,qat,dct:keep=0.25,prune:sparsity=0.9,prune:pattern=channels,prune:sparsity=0.9+qat,cluster:bits=4"
_MATRIX = (
    f"prune:{_RATIOS}:score={_SCORES},prune:{_RATIOS}:score=random:rates=magnitude,"
    f"prune:{_RATIOS}:pattern=block/2of4,{_CHANNELS},{_CHANNELS}:score=random:rates=magnitude"
)
_TAIL = 3  # lines of a failed stage's log in the summary
_NO_GPU = "no GPU"


@dataclass(frozen=True)
class Stage:
    """A command, by its arguments to this Python, and the longest it may take in seconds.

    junit: the file in which it says how many tests ran, where it runs tests.
    """

    name: str
    arguments: tuple[str, ...]
    limit_s: float
    junit: Path | None = None


@dataclass(frozen=True)
class Place:
    """What a stage was done with; another one's results do not stand for it."""

    mode: str  # "small" or "full"
    code: str  # the commit, and what is not committed
    gpu: str

    @property
    def text(self) -> str:
        return f"The {self.mode} stages, code at {self.code}, on {self.gpu}."


@dataclass(frozen=True)
class Outcome:
    """What became of a stage.

    ended: its exit code, or None where it was stopped at its limit or never began. ran: the tests that were not
    skipped, None where it runs none.
    """

    name: str
    arguments: tuple[str, ...]
    place: Place
    ended: int | None
    seconds: float
    ran: int | None = None

    @property
    def well(self) -> bool:
        """Done, with nothing left to do: where there is a GPU, the tests that need one have run."""
        return self.ended == 0 and (self.ran != 0 or self.place.gpu == _NO_GPU)

    @property
    def text(self) -> str:
        if self.ended is None:
            return "stopped at its limit" if self.seconds else "not begun: no time was left"
        if self.ended:
            return f"failed with exit code {self.ended}"
        return "nothing ran: every test was skipped" if self.ran == 0 else "ok"


def place_of(*, small: bool) -> Place:
    """Where this call is at work. The GPU is the driver's to name: torch would take up memory of it to ask."""
    import torch

    named = ", ".join(one["name"] for one in gpus()) or "a GPU without a name"
    return Place("small" if small else "full", code_at(_ROOT), named if torch.cuda.is_available() else _NO_GPU)


def code_at(root: Path) -> str:
    """The commit at `root` and, where files differ from it, a mark that is another one for other differences."""
    found = commit(root)
    if not found["commit_dirty"]:
        return found["commit"] or "an unknown commit"
    done = subprocess.run(["git", "-C", str(root), "diff", "--binary", "HEAD"], capture_output=True, check=True)
    return f"{found['commit']} with uncommitted changes {hashlib.sha256(done.stdout).hexdigest()[:8]}"


def stages(out: Path, data_dir: Path, *, small: bool) -> list[Stage]:
    """The stages in order. The limits add up to more than a call has: each keeps one stage from taking all of the time,
    and what was stopped goes on when the command is typed again."""
    kernels = ["-m", "cuda_kernels", "--out", str(out / "kernels")]
    if small:
        common = ["--net", "lenet300", "--dataset", "digits", "--device", "cpu", "--epochs", "2", "--runtimes", "eager"]
    else:
        common = ["--net", "resnet18", "--dataset", "folder", "--data-dir", str(data_dir / "cifar10-jpeg"),
                  "--device", "cuda"]  # fmt: skip
    common = ["run_bench.py", *common, "--finetune-epochs", "1" if small else "3", "--no-controls",
              "--cache", str(out / "cache")]  # fmt: skip
    runtimes = [] if small else ["--runtimes", "eager,bf16,fp16,cudagraphs,int8_gemm,cuda_kernels"]
    matrix = [] if small else ["--runtimes", "eager"]
    chains, pruned = ("ptq,prune:sparsity=0.5", "prune:sparsity=0.5/0.9") if small else (_CHAINS, _MATRIX)
    junit = out / "tests.xml"
    tests = ["-m", "pytest", "tests", "-m", "gpu and not sanitizer", "-n", "4", "--dist", "loadfile",
             "--junitxml", str(junit)]  # fmt: skip
    planned = [
        Stage("tests", tuple(tests), 300, junit),
        Stage("kernels", (*kernels, "--build-only") if small else tuple(kernels), 180),
        Stage("chains", (*common, *runtimes, "--methods", chains, "--out", str(out / "chains")), 540),
        Stage("matrix", (*common, *matrix, "--methods", pruned, "--out", str(out / "matrix")), 540),
    ]
    return planned if small else [*planned, Stage("sanitizer", (*kernels, "--sanitize"), 240)]


def perform(stage: Stage, place: Place, limit_s: float, log: Path) -> Outcome:
    """Runs a stage with all it starts, and ends it at the limit: by an interrupt, which keeps what is done, first."""
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as file, _minding_interrupts():
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
    seconds = round(time.monotonic() - begun, 1)
    return Outcome(stage.name, stage.arguments, place, ended, seconds, _tests_in(stage.junit) if stage.junit else None)


@contextlib.contextmanager
def _minding_interrupts() -> Iterator[None]:
    """What is started meanwhile minds an interrupt, though this process, as one in the background, ignores them."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and what is left of its group: a child may outlive the one that started it."""
    if process.poll() is None:
        _signal_all(process, signal.SIGINT, patience_s=15)
    _signal_all(process, signal.SIGKILL, patience_s=15)


def _signal_all(process: subprocess.Popen[bytes], sign: signal.Signals, patience_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, sign)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)


def _tests_in(junit: Path) -> int:
    """Tests that ran, by the file that pytest wrote; 0 where it wrote none."""
    try:
        suites = list(ElementTree.parse(junit).iter("testsuite"))
        return sum(int(one.get("tests", 0)) - int(one.get("skipped", 0)) for one in suites)
    except (OSError, ElementTree.ParseError, ValueError):
        return 0


def _finished(kept: Path, planned: Sequence[Stage], place: Place) -> dict[str, Outcome]:
    """Of an earlier call's outcomes those that stand, by name: ended well, of the same command at the same place."""
    if not kept.is_file():
        return {}
    try:
        before = [
            Outcome(**{**one, "arguments": tuple(one["arguments"]), "place": Place(**one["place"])})
            for one in json.loads(kept.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{kept} cannot be read ({type(error).__name__}: {error}): every stage is done again", flush=True)
        return {}
    asked = {(stage.name, stage.arguments, place) for stage in planned}
    return {one.name: one for one in before if one.well and (one.name, one.arguments, one.place) in asked}


def carry_out(planned: Sequence[Stage], out: Path, minutes: float, place: Place) -> list[Outcome]:
    """Performs what no earlier call has finished, for so long at most; writes summary.md after each stage."""
    latest, kept = time.monotonic() + 60 * minutes, out / "stages.json"
    outcomes = _finished(kept, planned, place)
    for stage in planned:
        left = latest - time.monotonic()
        if stage.name not in outcomes:
            print(f"{stage.name}: {shlex.join(('python', *stage.arguments))}", flush=True)
            limit_s, outcome = min(stage.limit_s, left), Outcome(stage.name, stage.arguments, place, None, 0.0)
            if limit_s > 0:
                outcome = perform(stage, place, limit_s, out / f"{stage.name}.log")
            outcomes[stage.name] = outcome
        print(f"{stage.name}: {outcomes[stage.name].text}, {outcomes[stage.name].seconds:.0f} s", flush=True)
        found = [outcomes[one.name] for one in planned if one.name in outcomes]
        write_json([asdict(one) for one in found], kept)
        (out / "summary.md").write_text(summary(found, out, place), encoding="utf-8")
    return [outcomes[stage.name] for stage in planned]


def summary(outcomes: Sequence[Outcome], out: Path, place: Place) -> str:
    """The page: each stage's command, how it ended, and the last lines of what failed. All are of the same place."""
    lines = ["# What needs a GPU", "", place.text, made_at(), ""]
    lines += ["| stage | result | seconds | command |", "|---|---|---:|---|"]
    for one in outcomes:
        lines.append(f"| {one.name} | {one.text} | {one.seconds:.0f} | `{shlex.join(('python', *one.arguments))}` |")
    for one in outcomes:
        log = out / f"{one.name}.log"
        if not one.well and log.is_file():
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
            lines += ["", f"The end of {log.name}:", "", *(f"    {line}" for line in said)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """The command. Returns 0 where every stage ended well, 1 where one did not, 2 where nothing could be begun."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.on_gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for what is written (runs/on_gpu, runs/on_gpu_small)")
    parser.add_argument("--data-dir", type=Path, default=Path(".data"), help="where cifar10-jpeg lies")
    parser.add_argument("--minutes", type=float, default=14.0, help="for all stages together (default: 14)")
    parser.add_argument("--small", action="store_true", help="the stages on a processor, at small size")
    typed = parser.parse_args()
    if not typed.minutes > 0:
        parser.error(f"--minutes must be positive, got {typed.minutes}")
    if reason := _unfit(typed):
        print(f"bench.on_gpu: {reason}", file=sys.stderr)
        return 2
    out = typed.out or Path("runs/on_gpu_small" if typed.small else "runs/on_gpu")
    out.mkdir(parents=True, exist_ok=True)
    planned = stages(out, typed.data_dir, small=typed.small)
    outcomes = carry_out(planned, out, typed.minutes, place_of(small=typed.small))
    print(f"wrote {out / 'summary.md'}")
    return 0 if all(one.well for one in outcomes) else 1


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
