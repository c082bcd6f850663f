"""Times networks with fewer channels against the whole one: `python -m bench.structured_speed DENSE CUT [CUT ...]`.

The files are those of a run: `dense`, and rows of `prune:pattern=channels`; rows of masks may stand beside them, to see
that zeros take as long. Writes what it measured and nothing else; more networks are added with `--append`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from bench.artifact import load
from bench.file_speed import Study, Timing, load_checked, run
from bench.measure.macs import macs_of

GOAL = 1.6  # at every batch size, of a file with half of the multiply-accumulates
HALF = 1.96  # dense multiply-accumulates / its own from which a file counts as one, 2 within 2 %


def macs_ratio(dense: Path, file: Path) -> float:
    """Multiply-accumulates of the one / those of the other."""
    return _macs(dense) / _macs(file)


def _macs(path: Path) -> int:
    artifact = load(path)
    return macs_of(artifact.model, tuple(artifact.metadata["input_shape"]))


def file_table(files: list[Path]) -> list[str]:
    """A Markdown table of what the files are; ratios are those of the first one to each."""
    lines = ["| file | chain | data | bytes | ratio | MACs | dense MACs / its own |", "|---|---|---|---|---|---|---|"]
    for path in files:
        about, size = load(path).metadata, path.stat().st_size
        cells = (path.stem, about["chain"], about["dataset"], f"{size:,}", f"{files[0].stat().st_size / size:.2f}")
        lines.append("| " + " | ".join(cells) + f" | {_macs(path):,} | {macs_ratio(files[0], path):.2f} |")
    return lines


def goal_lines(timings: Sequence[Timing], ratios: dict[str, float]) -> list[str]:
    """Least speed-up over the batch sizes, by runtime. ratios: of multiply-accumulates by file, the dense one left out.

    A file with half of the multiply-accumulates left is held to the goal, others are told without.
    """
    lines = []
    for file, ratio in ratios.items():
        held = ratio >= HALF
        lines.append(f"{file}, {ratio:.2f} times fewer multiply-accumulates"
                     + (f" (goal: at least {GOAL:g} times as fast)" if held else "") + ":")  # fmt: skip
        lines.append("")
        found: dict[tuple[str, int], list[Timing]] = {}
        for one in timings:
            if one.file == file:
                found.setdefault((one.runtime, one.threads), []).append(one)
        for (runtime, threads), ones in found.items():
            least = min(one.speedup for one in ones)
            at = ", ".join(f"batch {one.batch}: {one.speedup:.2f}" for one in ones)
            verdict = f" {'reached' if least >= GOAL else 'missed'}." if held else ""
            lines.append(f"- {runtime}, {threads} thread{'s' * (threads > 1)}: {at}.{verdict}")
        lines.append("")
    return lines[:-1]


def main() -> None:
    """The command."""
    torch.set_num_threads(1)
    study = Study(
        module="bench.structured_speed",
        description=__doc__ or "",
        title="Fewer channels against all of them, the same network in the same runtime",
        sides=("dense", "pruned"),
        error_to="the logits of the same file in eager",
        files="the dense artifact, then pruned ones of that network",
        runtimes="eager,inductor,onnxruntime,openvino",
        out=Path("docs/studies/structured_speed.md"),
        check=load_checked,
        goals=lambda timings, files: goal_lines(timings, {one.stem: macs_ratio(files[0], one) for one in files[1:]}),
        file_table=file_table,
    )
    run(study)


if __name__ == "__main__":
    main()
