"""Several runs on one page: which chains of methods run on which networks, and in kernels of which precision.

`python -m bench.composition RUN [RUN ...] --out FILE.md`: a table a run, from its records alone.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.records import ALIKE, RecordError, RunRecord, RuntimeResult, read_record
from bench.study_page import made_by

_HEAD = "| chain | seed | accuracy, % | file, % of dense | runtime | predicted as in eager, % | logits off | kernels |"


def read_run(folder: Path) -> tuple[list[RunRecord], str]:
    """The run's records in the order of its plan, and its command.

    Raises:
        ValueError: the folder is not that of a run.
    """
    try:
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        return [read_record(folder / "records" / f"{case}.json") for case in plan["cases"]], plan["command"]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder} is no finished run ({error}): pass the folder that was given as --out") from error


def section(records: Sequence[RunRecord], command: str) -> list[str]:
    """The table of one run, its command above."""
    dense = {one.seed: one.file_bytes for one in records if one.chain == "dense"}
    place = records[0].environment
    held = place.get("packages", {})
    packages = ", ".join(f"{name} {held[name]}" for name in ("torch", "onnxruntime", "openvino") if name in held)
    machine = place.get("cpu", {}).get("model", "an unknown processor")
    lines = [
        f"## {records[0].net} on {records[0].dataset}", "", f"`{command}`", "",
        f"Measured at commit {place.get('commit', 'unknown')}, {packages}, on {machine}.", "",
        _HEAD, "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in records:
        if one.status != "ok":
            lines.append(f"| `{one.label}` | {one.seed} | {one.status}: {one.reason} | | | | | |")
        lines += [_row(one, result, dense.get(one.seed, 0)) for result in one.runtimes]
    return [*lines, ""]


def _row(one: RunRecord, result: RuntimeResult, dense_bytes: int) -> str:
    if result.status != "ok" or result.accuracy is None:
        return f"| `{one.label}` | {one.seed} | | | {result.runtime} | {result.status}: {result.reason} | | |"
    accuracy = f"{100 * result.accuracy.correct / result.accuracy.seen:.2f}"
    size = f"{100 * one.file_bytes / dense_bytes:.1f}" if dense_bytes else ""
    alike = "" if result.agreement is None else f"{100 * result.agreement:.2f}"
    error = "" if result.logit_error is None else f"{result.logit_error:.2g}"
    cells = (f"`{one.label}`", one.seed, accuracy, size, result.runtime, alike, error, _kernels(result))
    return "| " + " | ".join(map(str, cells)) + " |"


def _kernels(result: RuntimeResult) -> str:
    """Calls by precision: "int8 x52, fp32 x1"."""
    calls: Counter[str] = Counter()
    for one in result.kernel_counts:
        calls[one.precision] += one.calls
    return ", ".join(f"{precision} x{count}" for precision, count in calls.most_common())


def verdict(runs: Sequence[Sequence[RunRecord]]) -> list[str]:
    """What all the runs say together, by stated rules."""
    results = [(one, result) for run in runs for one in run if one.chain != "dense" for result in one.runtimes]
    ran = [(one, result) for one, result in results if result.status == "ok"]
    known = [result.agreement for _, result in ran if result.agreement is not None and result.runtime != "eager"]
    alike = sum(value >= ALIKE for value in known)
    least = f"; the least is {100 * min(known):.2f} %" if known else ""
    integer = [(one, result) for one, result in ran if _all_int8(result)]
    return [
        f"- {len(ran)} of {len(results)} rows and runtimes ran.",
        f"- At least {100 * ALIKE:g} % of test predictions are eager's in {alike} of {len(known)}{least}.",
        f"- All products were int8 in {len(integer)}: " + (", ".join(_counted(integer)) or "none") + ".",
    ]


def _all_int8(result: RuntimeResult) -> bool:
    return bool(result.kernel_counts) and all(one.precision == "int8" for one in result.kernel_counts)


def _counted(results: Sequence[tuple[RunRecord, RuntimeResult]]) -> Iterator[str]:
    for runtime, count in Counter(result.runtime for _, result in results).items():
        yield f"{count} in {runtime}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.composition", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    try:
        runs = [read_run(folder) for folder in arguments.runs]
    except (ValueError, RecordError) as error:
        parser.error(str(error))
    lines = ["# Methods on networks: what runs, in which kernels", "", f"Generated by {made_by('bench.composition')}."]
    lines += ["", *verdict([records for records, _ in runs]), ""]
    lines += [line for records, command in runs for line in section(records, command)]
    arguments.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines[:8]))


if __name__ == "__main__":
    main()
