"""A run of the GPU kernels -> a table for each operation, a page with the goals, a roofline figure. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cuda_kernels.results import KernelRun, OperationCard, Timing, WorkloadResult
from reports.style import COLOURS, MARKERS, new_figure, save, styled, write_whole

_COPY = "copy bandwidth"  # the goal that is a share of the bandwidth, not a vendor's time


def draw_kernels(run: KernelRun, folder: Path, folders: Path | None = None) -> list[Path]:
    """Writes OPERATION.md for each operation, kernels.md and roofline.png and .svg into `folder`.

    folders: where the operations' own folders lie; each gets its table as README.md.
    """
    texts = {card.name: operation_page(run, card) for card in run.cards}
    paths = [write_whole(folder / f"{name}.md", text.encode()) for name, text in texts.items()]
    if folders is not None:
        paths += [write_whole(folders / name / "README.md", text.encode()) for name, text in texts.items()]
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
        "",
        "![roofline](roofline.png)",
        "",
    ]
    for card in run.cards:
        lines += [f"## {card.name}: {card.summary}", "", *_times(run, card.name), ""]
    return "\n".join([*lines, *_notes()]) + "\n"


def operation_page(run: KernelRun, card: OperationCard) -> str:
    """The README of an operation's folder: its variants in words, then what each took."""
    checks = [one for one in run.checks if one.operation == card.name]
    lines = [f"# {card.name}: {card.summary}", "", "| variant | idea | runs on | largest error |", "|---|---|---|---|"]
    for variant in card.variants:
        errors = [one.error for one in checks if one.variant == variant.name]
        failed = [one.check for one in checks if one.variant == variant.name and not one.passed]
        worst = f"failed: {', '.join(failed)}" if failed else (f"{max(errors):.1e}" if errors else "not run")
        lines.append(f"| {variant.name} | {variant.idea} | {variant.runs_on} | {worst} |")
    names = list(dict.fromkeys(one.check for one in checks))
    lines += ["", f"Checked on: {'; '.join(names)}.", "", "## Times", "", _origin(run), "", *_times(run, card.name), ""]
    return "\n".join([*lines, *_notes()]) + "\n"


def goal_lines(run: KernelRun) -> list[str]:
    """A table of the goals and what was reached."""
    lines = ["| operation | workload | goal | best variant | reached | met |", "|---|---|---|---|---|---|"]
    for one in run.workloads:
        if one.goal is None:
            continue
        what, least = one.goal
        reached, best = _reached(run, one), one.best()
        met = "not measured" if math.isnan(reached) else "yes" if reached >= least else "no"
        goal = f"at least {least:g} of the {what}" if what == _COPY else f"at least {least:g} x {what}"
        name = best.name if best else "none ran"
        lines.append(f"| {one.operation} | {one.workload} | {goal} | {name} | {_ratio(reached)} | {met} |")
    return lines


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
            f"{_amount(one.operations)}operations, {_amount(one.bytes)}bytes: at least {_microseconds(least)} us. "
            f"Moving inputs and output between host and device would take {_microseconds(moved)} us.",
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
    spread = f"{_microseconds(middle)} ({_microseconds(low)} to {_microseconds(high)})"
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


def _microseconds(seconds: float) -> str:
    value = 1e6 * seconds
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}".replace(",", " ")


def _amount(value: float) -> str:
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
