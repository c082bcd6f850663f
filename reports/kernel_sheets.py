"""Pages of the GPU kernels where none has run: variants, what they need, what the compiler says. No torch, no times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cuda_kernels.results import KernelResources, Need, Peaks, Sheet
from reports.kernels import amount, goal_words, link, microseconds, variant_rows
from reports.style import write_whole

NOT_MEASURED = (
    "**Not measured.** No run of these kernels on a GPU is published: neither that they agree with their references "
    "there nor any time, share of the roofline or ratio to a vendor's library is claimed. On a machine with a GPU, "
    "`python -m cuda_kernels --publish` checks them, times them and puts what it finds in place of this page."
)


def draw_sheets(sheets: Sequence[Sheet], peaks: Peaks, compiler: str, folders: Path) -> list[Path]:
    """Writes the README.md of each operation's folder in `folders`, and one with all goals into `folders` itself."""
    paths = [
        write_whole(folders / one.card.name / "README.md", sheet_page(one, peaks, compiler).encode()) for one in sheets
    ]
    return [*paths, write_whole(folders / "README.md", sheets_page(sheets, peaks).encode())]


def sheet_page(sheet: Sheet, peaks: Peaks, compiler: str) -> str:
    """The README of an operation's folder."""
    lines = [
        f"# {sheet.card.name}: {sheet.card.summary}",
        "",
        NOT_MEASURED,
        "",
        *variant_rows((variant, "not run") for variant in sheet.card.variants),
        "",
        "## What it needs",
        "",
        _least(peaks),
        "",
        "| workload | operations | bytes | least us | limit | goal | reached |",
        "|---|---|---|---|---|---|---|",
        *(f"| {one.workload} | {_counts(one, peaks)} | {_goal(one)} |" for one in sheet.needs),
        "",
        "## What the compiler says",
        "",
        *_registers(sheet, compiler),
    ]
    return "\n".join(lines) + "\n"


def sheets_page(sheets: Sequence[Sheet], peaks: Peaks) -> str:
    """The page of all operations: what each is, and the goals of all."""
    lines = ["# GPU kernels", "", NOT_MEASURED, ""]
    lines += [f"- {link(one.card)}" for one in sheets]
    lines += ["", "## Goals", "", _least(peaks), "", "| operation | workload | least us | goal | reached |"]
    lines.append("|---|---|---|---|---|")
    for sheet in sheets:
        for one in sheet.needs:
            if one.goal is not None:
                least = microseconds(_seconds(one, peaks)[0])
                lines.append(f"| {sheet.card.name} | {one.workload} | {least} | {_goal(one)} |")
        if all(one.goal is None for one in sheet.needs):
            lines.append(f"| {sheet.card.name} | every shape | | its ratio to the dense product | not measured |")
        if any(one.zeros is not None for one in sheet.needs):
            lines.append(
                f"| {sheet.card.name} | every share of zeros | | which one passes the dense product | not measured |"
            )
    return "\n".join(lines) + "\n"


def _least(peaks: Peaks) -> str:
    return (
        "Counted, not measured: the arithmetic that the task needs, and its traffic with device memory where inputs "
        f"are read and results written once. Least us: the longer of both at the peaks of {peaks.device}."
    )


def _seconds(need: Need, peaks: Peaks) -> tuple[float, str]:
    """The least time, and what limits it."""
    arithmetic, traffic = need.operations / peaks.operations_per_s[need.unit], need.bytes / peaks.bytes_per_s
    return (arithmetic, f"{need.unit} arithmetic") if arithmetic > traffic else (traffic, "memory")


def _counts(need: Need, peaks: Peaks) -> str:
    least, limit = _seconds(need, peaks)
    return f"{amount(need.operations)}| {amount(need.bytes)}| {microseconds(least)} | {limit}"


def _goal(need: Need) -> str:
    return f"{'' if need.goal is None else goal_words(need.goal)} | not measured"


def _registers(sheet: Sheet, compiler: str) -> list[str]:
    targets = sorted({one.target for one in sheet.resources})
    kernels = sorted({one.kernel for one in sheet.resources})
    spilled = sum(one.spill_bytes for one in sheet.resources)
    return [
        f"Registers a thread by {compiler}, of a template's instances from the least to the most; spills to memory: "
        f"{spilled} bytes in all.",
        "",
        f"| kernel | at most | {' | '.join(targets)} |",
        "|---|---|" + "---|" * len(targets),
        *(
            f"| {kernel} | {_limit(sheet, kernel)} | "
            + " | ".join(_span(one for one in sheet.resources if (one.kernel, one.target) == (kernel, target))
                         for target in targets)
            + " |"
            for kernel in kernels
        ),
    ]  # fmt: skip


def _limit(sheet: Sheet, kernel: str) -> str:
    limits = [most for part, most in sheet.register_limits.items() if part in kernel]
    return str(min(limits)) if limits else "not stated"


def _span(found: Iterable[KernelResources]) -> str:
    used = sorted({one.registers for one in found})
    return "" if not used else str(used[0]) if len(used) == 1 else f"{used[0]} to {used[-1]}"
