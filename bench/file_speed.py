"""Times compressed files of a network against its reference file, for the studies that do so.

All files of one network, one runtime after the other, and in each runtime all files by turns in one process, so that a
noisy machine slows them alike. A study says what its files have to be and which goals they are held against.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baselines.errors import UsageError, nearest
from bench.artifact import Artifact, ArtifactError, load
from bench.runtimes import RUNTIMES, RuntimeFailure, Session
from bench.study_page import made_at, made_by

_WARMUP = 5


@dataclass(frozen=True)
class Timing:
    """Samples of one file in one runtime, taken by turns with the reference's."""

    file: str
    runtime: str
    threads: int
    batch: int
    reference_s: tuple[float, ...]
    compressed_s: tuple[float, ...]
    error: float  # largest difference to the logits of the file in eager, in their standard deviations

    @property
    def speedup(self) -> float:
        """Ratio of medians, reference time / compressed time."""
        return statistics.median(self.reference_s) / statistics.median(self.compressed_s)


@dataclass(frozen=True)
class Study:
    """What a page compares. `check` raises UsageError unless files and runtimes are what the page says they are."""

    module: str  # that is run
    description: str  # of the command
    title: str
    sides: tuple[str, str]  # what the first file is, and the others, in a word each
    error_to: str  # what logits are compared with
    files: str  # what to give, for the command's help
    runtimes: str
    out: Path
    check: Callable[[Sequence[Path], Sequence[str]], object]
    goals: Callable[[list[Timing], list[Path]], list[str]]  # lines on which are reached
    file_table: Callable[[list[Path]], list[str]]
    notes: Callable[[], list[str]] = list


def time_by_turns(sessions: list[Session], images: np.ndarray, samples: int, burst: int = 1) -> list[tuple[float, ...]]:
    """Seconds of at least `samples` runs of each session, after a warm-up; images: float32 [n, c, h, w].

    burst: runs of one session in a row. The first of several is not timed: it reads weights that the other sessions
    have driven out of the processor's caches, which a process that serves one network does not.
    """
    found: list[list[float]] = [[] for _ in sessions]
    timed = max(1, burst - 1)
    for turn in range(-(-(_WARMUP + samples) // timed)):
        for session, seconds in zip(sessions, found, strict=True):
            for run in range(burst):
                start = time.perf_counter()
                session.run(images)
                if turn * timed >= _WARMUP and (run or burst == 1):
                    seconds.append(time.perf_counter() - start)
    return [tuple(seconds) for seconds in found]


def measure(
    files: list[Path], runtime: str, *, threads: int, batches: list[int], samples: int, burst: int
) -> tuple[dict[str, str], list[Timing]]:
    """Kernels by file, and the timings of every file but the first, which is the reference."""
    artifacts = [load(path) for path in files]
    shape = tuple(artifacts[0].metadata["input_shape"])
    rng = np.random.default_rng(0)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        sessions = [_session(one, runtime, Path(folder, str(index)), threads) for index, one in enumerate(artifacts)]
        for batch in batches:
            images = rng.standard_normal((batch, *shape)).astype(np.float32)  # [n, c, h, w]
            seconds = time_by_turns(sessions, images, samples, burst)
            for index in range(1, len(files)):
                error = _error(artifacts[index], sessions[index], images)
                found.append(Timing(files[index].stem, runtime, threads, batch, seconds[0], seconds[index], error))
        kernels = {path.stem: session.kernels().words() for path, session in zip(files, sessions, strict=True)}
    return kernels, found


def _session(artifact: Artifact, runtime: str, folder: Path, threads: int) -> Session:
    folder.mkdir()
    deployed = RUNTIMES[runtime].prepare(artifact.model, tuple(artifact.metadata["input_shape"]), folder)
    return RUNTIMES[runtime].load(artifact.model, deployed, threads=threads, device="cpu")


def _error(artifact: Artifact, session: Session, images: np.ndarray) -> float:
    simulated = RUNTIMES["eager"].load(artifact.model, None, threads=1, device="cpu").run(images)
    return float(np.abs(session.run(images) - simulated).max() / simulated.std())


def table(timings: list[Timing], sides: tuple[str, str]) -> list[str]:
    """A Markdown table; times in milliseconds, median and quartiles. sides: what the first file is, and the others."""
    lines = [
        f"| runtime | threads | batch | file | {sides[0]} ms | {sides[1]} ms | speed-up | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in timings:
        cells = (one.runtime, one.threads, one.batch, one.file, _ms(one.reference_s), _ms(one.compressed_s))
        lines.append("| " + " | ".join(map(str, cells)) + f" | {one.speedup:.2f} | {one.error:.3f} |")
    return lines


def _ms(seconds: tuple[float, ...]) -> str:
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{1e3 * middle:.2f} ({1e3 * low:.2f} to {1e3 * high:.2f})"


def header(study: Study) -> list[str]:
    """Where and with what the numbers were taken."""
    return [
        f"# {study.title}",
        "",
        made_at(),
        "Median and quartiles in milliseconds; files are timed by turns in one process, each turn a burst of `--burst` "
        f"runs of which the first of several is not timed. Error: largest difference to {study.error_to}, in their "
        "standard deviations.",
        *study.notes(),
    ]


def section(study: Study, files: list[Path], arguments: argparse.Namespace) -> list[str]:
    """What was measured of one network: command, table, kernels."""
    artifact = load(files[0])
    size = "x".join(map(str, artifact.metadata["input_shape"]))
    lines = [
        "",
        f"## {artifact.metadata['net']} at {size}",
        "",
        made_by(study.module),
        "",
        *study.file_table(files),
        "",
    ]
    timings: list[Timing] = []
    ran: list[str] = []
    for runtime in arguments.runtimes.split(","):
        if reason := RUNTIMES[runtime].unavailable("cpu"):
            ran.append(f"- {runtime}: not measured, {reason}")
            continue
        for threads in map(int, arguments.threads.split(",")):
            batches = [int(batch) for batch in arguments.batches.split(",")]
            try:
                settings = {"threads": threads, "batches": batches, "samples": arguments.samples}
                kernels, found = measure(files, runtime, **settings, burst=arguments.burst)
            except RuntimeFailure as error:
                ran.append(f"- {runtime}: not measured, {error}")
                break
            timings += found
        else:
            ran += [f"- {runtime}, {name}: {words}" for name, words in kernels.items()]
    lines += [*table(timings, study.sides), "", "Kernels, as each runtime reports them:", "", *ran, "", "### Goals", ""]
    return lines + study.goals(timings, files)


def load_checked(files: Sequence[Path], runtimes: Sequence[str]) -> list[Artifact]:
    """The artifacts, which have to be of one network.

    Raises:
        UsageError: a runtime is unknown, a file is missing, or the networks differ.
    """
    for name in runtimes:
        if name not in RUNTIMES:
            raise UsageError(f"unknown runtime {name!r}: {nearest(name, RUNTIMES)}")
    if gone := [str(path) for path in files if not path.is_file()]:
        raise UsageError(f"{gone[0]}: there is no such file")
    artifacts = [load(path) for path in files]
    for path, one in zip(files[1:], artifacts[1:], strict=True):
        for key in ("net", "input_shape"):
            if one.metadata[key] != artifacts[0].metadata[key]:
                raise UsageError(f"{path} has {key} {one.metadata[key]}, the first file {artifacts[0].metadata[key]}")
    return artifacts


def file_table(files: list[Path]) -> list[str]:
    """A Markdown table of what the files are and how large; the ratio is the first one's bytes / its bytes."""
    lines = ["| file | chain | data | bytes | ratio |", "|---|---|---|---|---|"]
    for path in files:
        about, size = load(path).metadata, path.stat().st_size
        ratio = files[0].stat().st_size / size
        lines.append(f"| {path.stem} | {about['chain']} | {about['dataset']} | {size:,} | {ratio:.2f} |")
    return lines


def run(study: Study) -> None:
    """The command of a study."""
    parser = argparse.ArgumentParser(prog=f"python -m {study.module}", description=study.description)
    parser.add_argument("files", nargs="+", type=Path, help=study.files)
    parser.add_argument("--runtimes", default=study.runtimes, help="names of bench.runtimes, comma-separated")
    parser.add_argument("--threads", default="1", help="numbers of threads, comma-separated")
    parser.add_argument("--batches", default="1,32", help="batch sizes, comma-separated")
    parser.add_argument("--samples", type=int, default=50, help="timed runs of each file")
    parser.add_argument("--burst", type=int, default=5, help="runs of one file in a row, the first of several untimed")
    parser.add_argument("--out", type=Path, default=study.out, help="the file to write")
    parser.add_argument("--append", action="store_true", help="add to the file instead of starting it anew")
    arguments = parser.parse_args()
    try:
        study.check(arguments.files, arguments.runtimes.split(","))
        lines = section(study, arguments.files, arguments)
    except (UsageError, ArtifactError) as error:
        parser.error(str(error))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("a" if arguments.append else "w", encoding="utf-8") as file:
        file.write("\n".join(lines if arguments.append else [*header(study), *lines]) + "\n")
    print("\n".join(lines))
