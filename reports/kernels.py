"""A run of the GPU kernels -> a table for each operation, a page with the goals, a roofline figure. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cuda_kernels.results import CheckOutcome, KernelRun, OperationCard, Timing, VariantCard, WorkloadResult
from reports.style import COLOURS, MARKERS, new_figure, save, styled, write_whole

_COPY = "copy bandwidth"  # the goal that is a share of the bandwidth, not a vendor's time


def draw_kernels(run: KernelRun, folder: Path, folders: Path | None = None) -> list[Path]:
    """Writes OPERATION.md for each operation, kernels.md and roofline.png and .svg into `folder`.

    folders: where the operations' own folders lie; each gets its table as README.md, and `folders` the goals of all.
    """
    texts = {card.name: operation_page(run, card) for card in run.cards}
    paths = [write_whole(folder / f"{name}.md", text.encode()) for name, text in texts.items()]
    if folders is not None:
        paths += [write_whole(folders / name / "README.md", text.encode()) for name, text in texts.items()]
        paths.append(write_whole(folders / "README.md", front_page(run).encode()))
    with styled():
        paths += save(roofline(run), folder, "roofline")
    return [*paths, write_whole(folder / "kernels.md", page(run).encode())]


def page(run: KernelRun) -> str:
    """The page of a run: where it ran, the ceilings, the goals, every operation's times."""
    limits = run.ceilings
    peaks = ", ".join(f"{unit} {rate / 1e12:.0f}" for unit, rate in limits.operations_per_s.items())
    passed = sum(one.passed for one in run.checks)
    lines = [
        "# GPU kernels",
        "",
        _origin(run),
        "",
        f"Ceilings: a copy on the device moves {limits.copy_bytes_per_s / 1e12:.2f} TB/s (read plus written, "
        f"measured); from the host {limits.to_device_bytes_per_s / 1e9:.0f} GB/s and to it "
        f"{limits.to_host_bytes_per_s / 1e9:.0f} GB/s (page-locked, measured); arithmetic at the highest "
        f"clock, in T operations/s: {peaks}; second-level cache "
        f"{limits.cache_bytes / 1e6:.0f} MB.",
        "",
        f"{passed} of {len(run.checks)} checks against the references passed before anything was timed.",
        "",
        "## Goals",
        "",
        *goal_lines(run),
        *crossing_lines(run),
        "",
        "![roofline](roofline.png)",
        "",
    ]
    for card in run.cards:
        lines += [f"## {card.name}: {card.summary}", "", *_times(run, card.name), ""]
    return "\n".join([*lines, *_notes()]) + "\n"


def front_page(run: KernelRun) -> str:
    """The README of the folder that holds the operations' folders: what each is, and the goals of all."""
    lines = ["# GPU kernels", "", _origin(run), "", *(f"- {link(card)}" for card in run.cards), "", "## Goals", ""]
    return "\n".join([*lines, *goal_lines(run), *crossing_lines(run)]) + "\n"


def link(card: OperationCard) -> str:
    """To an operation's page from that of all."""
    return f"[{card.name}]({card.name}/README.md): {card.summary}"


def operation_page(run: KernelRun, card: OperationCard) -> str:
    """The README of an operation's folder: its variants in words, then what each took."""
    checks = [one for one in run.checks if one.operation == card.name]
    lines = [f"# {card.name}: {card.summary}", ""]
    lines += variant_rows((variant, _worst([one for one in checks if one.variant == variant.name]))
                          for variant in card.variants)  # fmt: skip
    names = list(dict.fromkeys(one.check for one in checks))
    lines += ["", f"Checked on: {'; '.join(names)}.", "", "## Times", "", _origin(run), "", *_times(run, card.name), ""]
    return "\n".join([*lines, *_notes()]) + "\n"


def variant_rows(variants: Iterable[tuple[VariantCard, str]]) -> list[str]:
    """A table of variants in words, each with its largest error or why there is none."""
    return [
        "| variant | idea | runs on | largest error |",
        "|---|---|---|---|",
        *(f"| {one.name} | {one.idea} | {one.runs_on} | {worst} |" for one, worst in variants),
    ]


def _worst(checks: Sequence[CheckOutcome]) -> str:
    failed = [one.check for one in checks if not one.passed]
    if failed:
        return f"failed: {', '.join(failed)}"
    return f"{max(one.error for one in checks):.1e}" if checks else "not run"


def goal_words(goal: tuple[str, float]) -> str:
    """A goal, such as "at least 0.9 x cuBLAS"."""
    what, least = goal
    return f"at least {least:g} of the {what}" if what == _COPY else f"at least {least:g} x {what}"


def goal_lines(run: KernelRun) -> list[str]:
    """A table of the goals and what was reached."""
    lines = ["| operation | workload | goal | best variant | reached | met |", "|---|---|---|---|---|---|"]
    for one in run.workloads:
        if one.goal is None:
            continue
        reached, best = _reached(run, one), one.best()
        met = "not measured" if math.isnan(reached) else "yes" if reached >= one.goal[1] else "no"
        name = best.name if best else "none ran"
        lines.append(
            f"| {one.operation} | {one.workload} | {goal_words(one.goal)} | {name} | {_ratio(reached)} | {met} |"
        )
    return lines


def crossing_lines(run: KernelRun) -> list[str]:
    """For each operation on sparse matrices, and each of its shapes, the share of zeros from which it passes the dense
    product: where the ratio of median times, taken as straight between neighbours, is one."""
    lines = [""]
    shapes: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for one in run.workloads:
        dense = next((other for other in one.vendors() if " dense" in other.name and other.samples_s), None)
        if one.zeros is not None and dense and (best := one.best()):
            shape = (one.operation, one.workload.rpartition(", ")[0])
            shapes.setdefault(shape, []).append((one.zeros, dense.median_s / best.median_s))
    found = [(" ".join(name), sorted(points)) for name, points in shapes.items() if len(points) > 1]
    lines += [f"- {name} {_crossing(points)}" for name, points in found]
    return lines if len(lines) > 1 else []


def _crossing(points: Sequence[tuple[float, float]]) -> str:
    """points: (share of zeros, dense time over ours), by zeros."""
    slower = [zeros for zeros, ratio in points if ratio < 1]
    if not slower:
        return f"is faster than the dense product from {_percent(points[0][0])} zeros on, the least that was timed."
    if points[-1][1] < 1:
        return f"is slower than the dense product up to {_percent(points[-1][0])} zeros, the most that was timed."
    (low, before), (high, after) = next(pair for pair in pairwise(points) if pair[0][0] == slower[-1])
    at = low + (high - low) * (1 - before) / (after - before)
    return f"passes the dense product at about {_percent(at)} zeros, between {_percent(low)} and {_percent(high)}."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _reached(run: KernelRun, one: WorkloadResult) -> float:
    """What a goal's ratio came to: our bandwidth over the copy's, or the vendor's median time over ours."""
    best = one.best()
    if best is None or one.goal is None:
        return math.nan
    if one.goal[0] == _COPY:
        return one.bytes / best.median_s / run.ceilings.copy_bytes_per_s
    return next(
        (other.median_s / best.median_s for other in one.vendors() if other.name.startswith(one.goal[0])), math.nan
    )


def _times(run: KernelRun, operation: str) -> list[str]:
    lines: list[str] = []
    for one in run.workloads:
        if one.operation != operation:
            continue
        least = run.ceilings.least_s(one.operations, one.bytes, one.unit)
        limits = run.ceilings
        moved = one.input_bytes / limits.to_device_bytes_per_s + one.output_bytes / limits.to_host_bytes_per_s
        vendors = [vendor for vendor in one.vendors() if vendor.samples_s]
        lines += [
            f"### {one.workload}",
            "",
            f"{amount(one.operations)}operations, {amount(one.bytes)}bytes: at least {microseconds(least)} us. "
            f"Moving inputs and output between host and device would take {microseconds(moved)} us.",
            "",
            "| | us, median (quartiles) | share of the roofline |"
            + "".join(f" x {vendor.name} |" for vendor in vendors),
            "|---|---|---|" + "---|" * len(vendors),
            *(_row(timing, least, vendors) for timing in one.timings),
            "",
        ]
    return lines or ["Not timed."]


def _row(timing: Timing, least_s: float, vendors: Sequence[Timing]) -> str:
    if timing.refused:
        return f"| {timing.name} | {timing.refused} | |" + " |" * len(vendors)
    low, middle, high = statistics.quantiles(timing.samples_s, n=4)
    ratios = "".join(f" {_ratio(vendor.median_s / timing.median_s)} |" for vendor in vendors)
    spread = f"{microseconds(middle)} ({microseconds(low)} to {microseconds(high)})"
    return f"| {timing.name} | {spread} | {100 * least_s / timing.median_s:.0f} % |{ratios}"


def _notes() -> list[str]:
    return [
        "Each sample is one call from cold caches, by CUDA events; all ways of a workload are called by turns. Share "
        "of the roofline: the least time that operations or bytes allow, over the median. x vendor: the vendor's "
        "median over this one, more than 1 is faster than the vendor."
    ]


def _origin(run: KernelRun) -> str:
    packages, commit = run.environment.get("packages", {}), run.environment.get("commit")
    changed = " with changes" if run.environment.get("commit_dirty") else ""
    drivers = ", ".join(dict.fromkeys(str(one["driver"]) for one in run.environment.get("gpus", [])))
    return (
        f"`{run.command}` on {run.device} (driver {drivers or 'unknown'}), torch {packages.get('torch')}, "
        f"{run.environment.get('date')}, commit {commit or 'unknown'}{changed}."
    )


def _ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def microseconds(seconds: float) -> str:
    """Seconds as a number of microseconds."""
    value = 1e6 * seconds
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}".replace(",", " ")


def amount(value: float) -> str:
    """A count in thousands, millions, ...: "1.5 M ", with a space behind for a word."""
    for size, letter in ((1e12, "T "), (1e9, "G "), (1e6, "M "), (1e3, "k ")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f} "


def roofline(run: KernelRun) -> Figure:
    """Operations a second against operations for each byte: the fastest variant of each workload under the ceilings."""
    figure = new_figure(9.0, 6.0)
    axes = figure.add_subplot()
    points = [(one, one.operations / one.bytes, best) for one in run.workloads if (best := one.best())]
    reach = [intensity for _, intensity, _ in points] or [1.0]
    low, high = min(reach) / 2, max([*reach, 1e3]) * 2
    for unit, peak in sorted(run.ceilings.operations_per_s.items(), key=lambda item: item[1]):
        _ceiling(axes, run.ceilings.copy_bytes_per_s, peak, unit, (low, high))
    names = list(dict.fromkeys(one.operation for one, _, _ in points))
    for one, intensity, best in points:
        index = names.index(one.operation)
        first = one is next(other for other, _, _ in points if other.operation == one.operation)
        axes.plot(
            intensity,
            one.operations / best.median_s / 1e12,
            linestyle="none",
            marker=MARKERS[index % len(MARKERS)],
            color=COLOURS[index % len(COLOURS)],
            markeredgecolor="white",
            label=one.operation if first else None,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_xlabel("operations for each byte that has to move")
    axes.set_ylabel("T operations a second")
    axes.set_title(f"The fastest variant of each workload under the ceilings of {run.device}")
    if names:
        axes.legend(loc="lower right", frameon=False)
    return figure


def _ceiling(axes: Axes, bandwidth: float, peak: float, unit: str, reach: tuple[float, float]) -> None:
    ridge = peak / bandwidth
    xs = [reach[0], ridge, reach[1]]
    axes.plot(xs, [min(peak, bandwidth * x) / 1e12 for x in xs], color="#808080", linewidth=1.2, zorder=1)
    axes.annotate(f"{unit}: {peak / 1e12:.0f}", (reach[1], peak / 1e12), ha="right", va="bottom", color="#606060")
