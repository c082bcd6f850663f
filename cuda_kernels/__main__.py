"""The kernels' own benchmark: `python -m cuda_kernels`, or `make kernels`.

Every variant is checked against its reference on hard data first; a variant that fails is not timed. Then all variants
and the vendors' libraries are timed by turns. Writes kernels.json, a table for each operation, a page and a roofline
figure to --out; --publish also puts the tables into the operations' folders. Without a GPU, --build-only --publish puts
there what the counts and the compiler say.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cuda_kernels.build import TARGETS, BuildFailure, build
from cuda_kernels.build import operations as operation_names
from cuda_kernels.results import (
    CheckOutcome,
    KernelRun,
    WorkloadResult,
    read_run,
    write_run,
)

if TYPE_CHECKING:
    import torch

    from cuda_kernels.operation import Operation

_INSIDE_PROFILER = "CUDA_KERNELS_PROFILED"
_METRICS = (
    "gpu__time_duration.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "lts__t_sector_hit_rate.pct",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "launch__registers_per_thread",
    "launch__shared_mem_per_block",
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the process on a mistake, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m cuda_kernels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operations", help=f"comma-separated, of {', '.join(operation_names())}; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/kernels"), help="folder for what is written")
    parser.add_argument("--budget", type=float, default=1.0, metavar="S", help="seconds of timing a workload")
    parser.add_argument("--check-only", action="store_true", help="check against the references, time nothing")
    parser.add_argument("--build-only", action="store_true", help="compile for all targets; needs no GPU")
    parser.add_argument("--profile", action="store_true", help="one call of each variant under ncu: OUT/profile.csv")
    parser.add_argument("--sanitize", action="store_true", help="the checks under compute-sanitizer")
    parser.add_argument("--report", type=Path, metavar="JSON", help="draw the report of a finished run again")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="also write the README.md of each operation's folder; with --build-only without times, and says so",
    )
    typed = parser.parse_args(arguments)
    if typed.operations:
        unknown = [name for name in typed.operations.split(",") if name not in operation_names()]
        if unknown:
            parser.error(f"there is no operation {unknown[0]!r}: choose from {', '.join(operation_names())}")
        if typed.publish:
            parser.error("--publish puts the pages of all operations in place: leave --operations out")
    if typed.budget <= 0:
        parser.error(f"--budget must be positive, got {typed.budget}")
    return typed


def main(arguments: Sequence[str]) -> int:
    """The command. Returns 0, 1 if a check failed, 2 if nothing could be run."""
    typed = parse(arguments)
    try:
        if typed.report:
            _draw(read_run(typed.report), typed.out, publish=typed.publish)
            return 0
        if typed.build_only:
            print(f"built {build(TARGETS)}")
            if typed.publish:
                _publish_sheets()
            return 0
        if reason := _no_gpu():
            print(f"cuda_kernels: {reason}", file=sys.stderr)
            return 2
        build()
        if (typed.profile or typed.sanitize) and not os.environ.get(_INSIDE_PROFILER):
            return _under_tool(typed, list(arguments))
        return _run(typed, shlex.join(["python", "-m", "cuda_kernels", *arguments]))
    except (BuildFailure, ValueError, OSError) as error:
        print(f"cuda_kernels: {error}", file=sys.stderr)
        return 2


def _no_gpu() -> str | None:
    import torch

    if torch.cuda.is_available():
        return None
    return (
        f"torch {torch.__version__} sees no GPU here, and timing needs one: --build-only compiles for all targets "
        "without, and --report FILE draws the tables of a finished run"
    )


def _run(typed: argparse.Namespace, command: str) -> int:
    import torch

    from bench.environment import environment
    from cuda_kernels.catalogue import OPERATIONS
    from cuda_kernels.sheets import card
    from cuda_kernels.timing import Stopwatch, ceilings, time_workload
    from cuda_kernels.verify import verify

    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda", torch.cuda.current_device())
    chosen = [OPERATIONS[name] for name in (typed.operations.split(",") if typed.operations else OPERATIONS)]
    if typed.profile:
        _call_each_once(chosen, device)
        return 0
    checks: list[CheckOutcome] = []
    for operation in chosen:
        outcomes = list(verify(operation, device))
        checks += outcomes
        failed = [one for one in outcomes if not one.passed]
        print(f"{operation.name}: {len(outcomes) - len(failed)} of {len(outcomes)} checks passed", flush=True)
        for one in failed:
            print(f"  FAILED {one.variant} on {one.check}: error {one.error:.3g}, allowed {one.tolerance:.3g}")
    workloads: list[WorkloadResult] = []
    if not typed.check_only:
        stopwatch = Stopwatch(device)
        limits = ceilings(stopwatch, device)
        for operation in chosen:
            mistaken = (one for one in checks if one.operation == operation.name and not one.passed)
            wrong = frozenset(one.variant for one in mistaken)
            for workload in operation.workloads:
                result = time_workload(operation, workload, stopwatch, device, typed.budget, wrong)
                workloads.append(result)
                _print_workload(result)
        run = KernelRun(
            command,
            torch.cuda.get_device_name(device),
            torch.cuda.get_device_capability(device),
            environment(),
            limits,
            tuple(card(one) for one in chosen),
            tuple(checks),
            tuple(workloads),
        )
        write_run(run, typed.out / "kernels.json")
        _draw(run, typed.out, publish=typed.publish)
    return 0 if all(one.passed for one in checks) else 1


def _print_workload(result: WorkloadResult) -> None:
    print(f"{result.operation} {result.workload}")
    for one in result.timings:
        print(f"  {one.name:38} {one.refused or f'{1e6 * one.median_s:10.1f} us'}", flush=True)


def _call_each_once(chosen: Sequence[Operation], device: torch.device) -> None:
    """One call of each variant at the workload with a goal, or the last: what the profiler looks at."""
    import torch

    for operation in chosen:
        workload = next((one for one in operation.workloads if one.goal), operation.workloads[-1])
        arguments = workload.make(torch.Generator(device).manual_seed(0), device)
        for variant in operation.variants:
            if variant.runs_on(torch.cuda.get_device_capability(device)):
                operation.run(*arguments, variant=variant.name)
        torch.cuda.synchronize(device)


def _under_tool(typed: argparse.Namespace, arguments: list[str]) -> int:
    """Runs this command again inside ncu or compute-sanitizer, which look at our kernels alone."""
    name = "ncu" if typed.profile else "compute-sanitizer"
    tool = shutil.which(name)
    if tool is None:
        print(f"cuda_kernels: {name} is not on PATH: it comes with the CUDA toolkit", file=sys.stderr)
        return 2
    chosen = typed.operations.split(",") if typed.operations else operation_names()
    environment = {**os.environ, _INSIDE_PROFILER: "1"}
    typed.out.mkdir(parents=True, exist_ok=True)
    if typed.profile:
        log = typed.out / "profile.csv"
        flags = ["--clock-control", "none", "--csv", "--page", "raw", "--metrics", ",".join(_METRICS)]
        tools = [[tool, *flags, "--log-file", str(log), "--kernel-name", f"regex:.*({'|'.join(chosen)})_.*"]]
    else:
        environment["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"  # so that each tensor has bounds that can be seen
        filters = [flag for operation in chosen for flag in ("--kernel-name", f"kernel_substring={operation}_")]
        arguments = [*arguments, "--check-only"]
        tools = [[tool, "--tool", kind, "--error-exitcode", "9", *filters] for kind in ("memcheck", "racecheck")]
    for prefix in tools:
        print(f"cuda_kernels: {shlex.join(prefix[:3])} ...", flush=True)
        status = subprocess.run([*prefix, sys.executable, "-m", "cuda_kernels", *arguments], env=environment).returncode
        if status:
            return status
    return 0


def _publish_sheets() -> None:
    """Writes pages for the operations' folders that say what is known without a GPU, and that nothing is measured."""
    from cuda_kernels.sheets import H200, compiler, sheets
    from reports.kernel_sheets import draw_sheets

    for path in draw_sheets(tuple(sheets()), H200, compiler(), Path(__file__).resolve().parent):
        print(path)


def _draw(run: KernelRun, out: Path, *, publish: bool) -> None:
    from reports.kernels import draw_kernels

    if publish and (missing := set(operation_names()) - {one.name for one in run.cards}):
        raise ValueError(f"--publish needs a run of all operations, this one lacks {', '.join(sorted(missing))}")
    for path in draw_kernels(run, out, folders=Path(__file__).resolve().parent if publish else None):
        print(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
