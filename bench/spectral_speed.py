"""Times spectral layers against dense ones: `python -m bench.spectral_speed --out FILE.md`.

Both sides of a row run by turns in one process on one thread, so that a noisy machine slows them alike. Writes what it
measured and nothing else. `--small` takes small shapes and no goals, to see that it works.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from bench.measure.memory import watch
from bench.runtimes import RUNTIMES
from bench.spectral_cases import Case, alexnet, convolution, convolution_pair, linear, linear_pair, resnet, step
from bench.spectral_paths import convolution_choices, linear_choices, table
from bench.study_page import made_at, made_by
from methods.layers import SpectralConv2d, SpectralLinear

_WARMUP = 2


@dataclass(frozen=True)
class Samples:
    """Seconds of each sample of one side: of this thread at work, and on the clock on the wall."""

    thread_s: tuple[float, ...]
    wall_s: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """A case, timed in bursts and in single calls, before each of which the other side ran."""

    case: Case
    bursts: list[Samples]  # dense, spectral, and dense by oneDNN where there is one
    singles: list[Samples]  # dense, spectral

    @property
    def speedup(self) -> float:
        """Dense time / spectral time of the thread, ratio of medians."""
        return _ratio(self.bursts[0].thread_s, self.bursts[1].thread_s)


def time_case(case: Case, seconds: float) -> Timing:
    """By turns, for about so long."""
    with torch.inference_mode():
        runs = [case.dense, case.ours, *([case.other] if case.other else [])]
        for run in runs * _WARMUP:
            run()
        bursts = _by_turns(runs, case.burst, 0.6 * seconds)
        singles = _by_turns(runs[:2], 1, 0.4 * seconds) if case.burst > 1 else bursts
    return Timing(case, bursts, singles)


def _by_turns(runs: list[Callable[[], object]], burst: int, seconds: float) -> list[Samples]:
    found: list[list[tuple[float, float]]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[0]) < 5:
        for run, samples in zip(runs, found, strict=True):
            wall, thread = time.perf_counter(), time.thread_time()
            for _ in range(burst):
                run()
            thread, wall = time.thread_time() - thread, time.perf_counter() - wall
            samples.append((thread / burst, wall / burst))
    return [Samples(*zip(*samples, strict=True)) for samples in found]


def _ratio(dense_s: tuple[float, ...], ours_s: tuple[float, ...]) -> float:
    return statistics.median(dense_s) / statistics.median(ours_s)


def rows(timings: list[Timing]) -> list[str]:
    """A Markdown table; times in milliseconds, median and quartiles."""
    with_other = any(len(one.bursts) > 2 for one in timings)
    names = ["layer", "kept", "batch", "how", "calls", "dense ms", "spectral ms", "speed-up", "goal", "verdict"]
    names += ["MAC limit", "by wall clock", "single calls", "error"]
    names += ["dense by oneDNN ms", "speed-up against that"] if with_other else []
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for one in timings:
        case, (dense, ours, *other) = one.case, one.bursts
        cells = [case.name, case.kept, str(case.batch), case.setting, str(case.burst), _ms(dense.thread_s),
                 _ms(ours.thread_s), f"{one.speedup:.2f}", f"{case.goal:g}" if case.goal else "", verdict(one),
                 f"{case.limit:.1f}" if case.limit else "", f"{_ratio(dense.wall_s, ours.wall_s):.2f}",
                 f"{_ratio(one.singles[0].thread_s, one.singles[1].thread_s):.2f}",
                 f"{case.error:.0e}" if case.error is not None else ""]  # fmt: skip
        if with_other:
            cells += [_ms(other[0].thread_s), f"{_ratio(other[0].thread_s, ours.thread_s):.2f}"] if other else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def verdict(timing: Timing) -> str:
    goal = timing.case.goal
    return "" if goal is None else "reached" if timing.speedup >= goal else "missed"


def _ms(seconds: tuple[float, ...]) -> str:
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{1e3 * middle:.3g} ({1e3 * low:.3g} to {1e3 * high:.3g})"


def peak_of(kind: str, form: str, batch: int) -> int:
    """Bytes that making and running one layer adds to the peak of a fresh process, which has run others before."""
    torch.set_num_threads(1)

    def run(size: int, channels: int, count: int) -> None:
        layer: torch.nn.Module
        if kind == "Linear":
            kept = size // 4
            layer = torch.nn.Linear(size, size) if form == "dense" else SpectralLinear(size, size, kept, kept)
            x = torch.zeros(count, size)
        else:
            kept = channels // 2
            layer = (torch.nn.Conv2d(channels, channels, 3, padding=1) if form == "dense"
                     else SpectralConv2d(channels, channels, 3, kept, kept, padding=1))  # fmt: skip
            x = torch.zeros(count, channels, 4, 4)
        layer.eval()
        for _ in range(3):
            layer(x)

    with torch.inference_mode():
        run(1024, 64, 2)
        began = watch()
        run(4096, 512, batch)
        return began.peak_bytes() - began.baseline_bytes


def memory_rows() -> list[str]:
    lines = ["| layer | batch | dense MB | spectral MB | dense weight MB |", "|---|---|---|---|---|"]
    context = multiprocessing.get_context("spawn")
    for kind, name, weight in (("Linear", "Linear 4096x4096, 1/4", 4 * 4096**2),
                               ("Conv2d", "Conv2d 512->512, 3x3, 4x4, 1/2", 4 * 9 * 512**2)):  # fmt: skip
        for batch in (1, 32):
            peaks = []
            for form in ("dense", "spectral"):
                with context.Pool(1) as pool:  # a process each
                    peaks.append(pool.apply(peak_of, (kind, form, batch)))
            cells = [name, str(batch), *(f"{peak / 1e6:.1f}" for peak in peaks), f"{weight / 1e6:.1f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def header() -> list[str]:
    """Where and with what the numbers were taken."""
    return [
        "# Spectral layers against dense ones, the same work in the same process",
        "",
        made_by("bench.spectral_speed"),
        "",
        f"{made_at()} One thread, float32.",
        "Median and quartiles in milliseconds; dense and spectral run by turns in one process. Times are those of the "
        "thread at work, which other work on the machine lengthens less than those by the wall clock, whose ratio is "
        "also given. A sample is the mean of so many calls in a row (calls), the same on both sides. Single calls: the "
        "speed-up of single calls, where the other side has just emptied the caches. MAC limit: the ratio of "
        "multiply-accumulates, transforms by FFT left out. Error: largest difference of outputs, in their standard "
        "deviations. Dense by oneDNN: the dense layer as spectral layers compute where they can: a linear one by "
        "oneDNN's product, a convolution with its weight in oneDNN's own order beforehand.",
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.spectral_speed", description=__doc__)
    parser.add_argument("--runtimes", default="eager,onnxruntime", help="of resnet18; names of bench.runtimes")
    parser.add_argument("--seconds", type=float, default=4.0, help="that a row of a table is timed for")
    parser.add_argument("--small", action="store_true", help="small shapes, no goals, no networks")
    parser.add_argument("--out", type=Path, default=Path("docs/studies/spectral_speed.md"), help="the file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = header()  # before the load that this makes
    for section in small_sections() if arguments.small else sections(arguments.runtimes.split(",")):
        found = section(arguments.seconds)
        print("\n".join(found), flush=True)
        lines += ["", *found]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


Section = Callable[[float], list[str]]


def timed(title: str, cases: list[Callable[[], Case]], seconds: float) -> list[str]:
    return [f"## {title}", "", *rows([time_case(case(), seconds) for case in cases])]


def networks(runtimes: list[str], seconds: float) -> list[str]:
    timings, words = [], []
    for runtime in runtimes:
        if reason := RUNTIMES[runtime].unavailable("cpu"):
            words += ["", f"{runtime}: not measured, {reason}."]
        else:
            timings += [time_case(case, 2 * seconds) for case in resnet(runtime, [1, 32], 2)]
    found, sizes = alexnet([1, 32, 256], 6)
    timings += [time_case(case, seconds) for case in found]
    for what in ("weights", "all"):
        dense, ours = sizes[f"dense {what}"], sizes[f"spectral {what}"]
        name = "weights" if what == "weights" else "weights and biases"
        words += ["", f"Bytes of {name} of AlexNet's linear part: {dense:,} dense, {ours:,} spectral, "
                      f"{dense / ours:.1f} times fewer (goal: 16)."]  # fmt: skip
    return ["## Networks", "", "One runtime in which resnet18 reaches its goal is enough.", "", *rows(timings), *words]


def paths(seconds: float) -> list[str]:
    lines = ["## The choice of the path", "", "### Linear layers", ""]
    lines += table(linear_choices([256, 512, 1024, 2048, 4096], [2, 4, 8], [1, 8, 32, 256]))
    lines += ["", "### Convolutions", ""]
    return lines + table(convolution_choices([16, 64, 128, 256, 512], [32, 32, 16, 8, 4], [2, 4], [1, 32]))


def sections(runtimes: list[str]) -> list[Section]:
    """All of the study."""
    layers: list[Callable[[], Case]] = [
        partial(linear, 4096, part, batch, goal)
        for part, batch, goal in ((4, 1, 8), (4, 32, None), (4, 256, 6), (8, 1, 14), (8, 32, None), (8, 256, 9))
    ]
    layers += [
        partial(convolution, 256, 16, batch, layout, 2.4)
        for batch in (1, 32)
        for layout in ("channels first", "channels last")
    ]
    training: list[Callable[[], Case]] = [
        partial(step, partial(linear_pair, 4096, 4, batch), "Linear 4096x4096", "1/4 of each axis")
        for batch in (1, 32, 256)
    ]
    training += [
        partial(step, partial(convolution_pair, 256, 16, batch), "Conv2d 256->256, 3x3, 16x16", "1/4 of each axis")
        for batch in (1, 32)
    ]
    return [
        partial(timed, "Layers", layers),
        partial(networks, runtimes),
        partial(timed, "A training step: forward, backward, SGD", training),
        lambda seconds: ["## Memory", "", "What making and running a layer three times adds to the peak of resident "
                         "memory of a process of its own.", "", *memory_rows()],
        paths,
    ]  # fmt: skip


def small_sections() -> list[Section]:
    """Every kind of section that needs no network, in a second or so."""
    layers: list[Callable[[], Case]] = [
        partial(linear, 512, 8, 2, None), partial(convolution, 16, 8, 1, "channels last", None)
    ]  # fmt: skip
    return [
        partial(timed, "Layers", layers),
        partial(timed, "Training", [partial(step, partial(linear_pair, 256, 4, 2), "Linear 256x256", "1/4")]),
        lambda seconds: [*table(linear_choices([64], [2], [1])), *table(convolution_choices([8], [4], [2], [1]))],
    ]  # fmt: skip


if __name__ == "__main__":
    main()
