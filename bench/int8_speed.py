"""Times int8 artifacts against a float32 one: `python -m bench.int8_speed FLOAT INT8 [INT8 ...] --out FILE.md`.

All files of one network, one runtime after the other, and in each runtime all files by turns in one process, so that a
noisy machine slows them alike. Writes what it measured and nothing else; more networks are added with `--append`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baselines.errors import UsageError
from bench.environment import cpu
from bench.file_speed import Study, Timing, file_table, load_checked, run
from bench.int8_goals import Goals, bound, size_line, speed_lines
from methods.layers.quantization import is_quantized


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
    artifacts = load_checked(files, runtimes)
    if is_quantized(artifacts[0].model):
        raise UsageError(f"{files[0]} is quantised: the float32 file comes first")
    for path, one in zip(files[1:], artifacts[1:], strict=True):
        if not is_quantized(one.model):
            raise UsageError(f"{path} is not quantised: only the first file is float32")


def main() -> None:
    """The command."""
    study = Study(
        module="bench.int8_speed",
        description=__doc__ or "",
        title="int8 against float32, the same network in the same runtime",
        sides=("float32", "int8"),
        error_to="the simulated int8 logits",
        files="a float32 artifact, dense or not, then int8 ones of that network",
        runtimes="onnxruntime,openvino",
        out=Path("docs/studies/int8_speed.md"),
        check=check,
        goals=lambda timings, files: goal_lines(timings, {path.stem: path.stat().st_size for path in files}, Goals()),
        file_table=file_table,
        notes=lambda: bound(cpu()["flags"]),
    )
    run(study)


if __name__ == "__main__":
    main()
