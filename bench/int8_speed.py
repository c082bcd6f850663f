"""Times int8 artifacts against a float32 one: `python -m bench.int8_speed FLOAT INT8 [INT8 ...] --out FILE.md`.

All files of one network, one runtime after the other, and in each runtime all files by turns in one process, so that a
noisy machine slows them alike. Writes what it measured and nothing else; more networks are added with `--append`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baselines.errors import UsageError, nearest
from bench.artifact import Artifact, ArtifactError, load
from bench.environment import cpu
from bench.int8_goals import Goals, bound, size_line, speed_lines
from bench.runtimes import RUNTIMES, RuntimeFailure, Session
from bench.study_page import made_at, made_by
from methods.layers.quantization import is_quantized

_WARMUP = 5


@dataclass(frozen=True)
class Timing:
    """Samples of one file in one runtime, taken by turns with the float32 file's."""

    file: str
    runtime: str
    threads: int
    batch: int
    float_s: tuple[float, ...]
    int8_s: tuple[float, ...]
    error: float  # largest difference to the simulated logits, in their standard deviations

    @property
    def speedup(self) -> float:
        """Ratio of medians, float32 time / int8 time."""
        return statistics.median(self.float_s) / statistics.median(self.int8_s)


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
    """Kernels by file, and the timings of every file but the first, which is the float32 one."""
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


def table(timings: list[Timing]) -> list[str]:
    """A Markdown table; times in milliseconds, median and quartiles."""
    lines = [
        "| runtime | threads | batch | file | float32 ms | int8 ms | speed-up | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in timings:
        cells = (one.runtime, one.threads, one.batch, one.file, _ms(one.float_s), _ms(one.int8_s))
        lines.append("| " + " | ".join(map(str, cells)) + f" | {one.speedup:.2f} | {one.error:.3f} |")
    return lines


def _ms(seconds: tuple[float, ...]) -> str:
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{1e3 * middle:.2f} ({1e3 * low:.2f} to {1e3 * high:.2f})"


def header() -> list[str]:
    """Where and with what the numbers were taken."""
    return [
        "# int8 against float32, the same network in the same runtime",
        "",
        made_at(),
        "Median and quartiles in milliseconds; files are timed by turns in one process, each turn a burst of `--burst` "
        "runs of which the first of several is not timed. Error: largest difference to "
        "the simulated int8 logits, in their standard deviations.",
        *bound(cpu()["flags"]),
    ]


def section(files: list[Path], arguments: argparse.Namespace) -> list[str]:
    """What was measured of one network: command, table, kernels."""
    artifact = load(files[0])
    size = "x".join(map(str, artifact.metadata["input_shape"]))
    lines = [
        "",
        f"## {artifact.metadata['net']} at {size}",
        "",
        made_by("bench.int8_speed"),
        "",
        *file_table(files),
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
    lines += [*table(timings), "", "Kernels, as each runtime reports them:", "", *ran, "", "### Goals", ""]
    return lines + goal_lines(timings, {path.stem: path.stat().st_size for path in files}, Goals())


def file_table(files: list[Path]) -> list[str]:
    """A Markdown table of what the files are and how large; the ratio is float32 bytes / its bytes."""
    lines = ["| file | chain | data | bytes | ratio |", "|---|---|---|---|---|"]
    for path in files:
        about, size = load(path).metadata, path.stat().st_size
        ratio = files[0].stat().st_size / size
        lines.append(f"| {path.stem} | {about['chain']} | {about['dataset']} | {size:,} | {ratio:.2f} |")
    return lines


def goal_lines(timings: list[Timing], sizes: dict[str, int], goals: Goals) -> list[str]:
    """Whether each file reaches the goals; `sizes`: bytes of each file, the float32 one first."""
    float_bytes, *_ = sizes.values()
    lines = []
    for file, threads in dict.fromkeys((one.file, one.threads) for one in timings):
        speedups: dict[str, dict[int, float]] = {}
        for one in timings:
            if (one.file, one.threads) == (file, threads):
                speedups.setdefault(one.runtime, {})[one.batch] = one.speedup
        lines += speed_lines(file, threads, speedups, goals)
    return lines + [size_line(file, float_bytes, size, goals) for file, size in list(sizes.items())[1:]]


def check(files: Sequence[Path], runtimes: Sequence[str]) -> None:
    """What the page says of the files has to be so.

    Raises:
        UsageError: a runtime is unknown, a file is missing, the first one is quantised or another is not, or their
            networks differ.
    """
    for name in runtimes:
        if name not in RUNTIMES:
            raise UsageError(f"unknown runtime {name!r}: {nearest(name, RUNTIMES)}")
    if gone := [str(path) for path in files if not path.is_file()]:
        raise UsageError(f"{gone[0]}: there is no such file")
    artifacts = [load(path) for path in files]
    if is_quantized(artifacts[0].model):
        raise UsageError(f"{files[0]} is quantised: the float32 file comes first")
    for path, one in zip(files[1:], artifacts[1:], strict=True):
        if not is_quantized(one.model):
            raise UsageError(f"{path} is not quantised: only the first file is float32")
        for key in ("net", "input_shape"):
            if one.metadata[key] != artifacts[0].metadata[key]:
                raise UsageError(f"{path} has {key} {one.metadata[key]}, the first file {artifacts[0].metadata[key]}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.int8_speed", description=__doc__)
    parser.add_argument(
        "files", nargs="+", type=Path, help="a float32 artifact, dense or not, then int8 ones of that network"
    )
    parser.add_argument("--runtimes", default="onnxruntime,openvino", help="names of bench.runtimes, comma-separated")
    parser.add_argument("--threads", default="1", help="numbers of threads, comma-separated")
    parser.add_argument("--batches", default="1,32", help="batch sizes, comma-separated")
    parser.add_argument("--samples", type=int, default=50, help="timed runs of each file")
    parser.add_argument("--burst", type=int, default=5, help="runs of one file in a row, the first of several untimed")
    parser.add_argument("--out", type=Path, default=Path("docs/studies/int8_speed.md"), help="the file to write")
    parser.add_argument("--append", action="store_true", help="add to the file instead of starting it anew")
    arguments = parser.parse_args()
    try:
        check(arguments.files, arguments.runtimes.split(","))
        lines = section(arguments.files, arguments)
    except (UsageError, ArtifactError) as error:
        parser.error(str(error))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("a" if arguments.append else "w", encoding="utf-8") as file:
        file.write("\n".join(lines if arguments.append else [*header(), *lines]) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
