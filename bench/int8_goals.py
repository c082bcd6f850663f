"""What int8 is to reach, held against what was timed; and what a processor's arithmetic allows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Speedups = Mapping[str, Mapping[int, float]]  # runtime -> batch -> float32 time / int8 time

_NO_VNNI = """This processor has no VNNI instructions, so the arithmetic itself bounds the gain: one 256-bit float
instruction multiplies and adds 8 pairs; int8 takes two multiplying instructions (vpmaddubsw, vpmaddwd) and an addition
for 32 pairs. That is 16 pairs for each multiplying instruction against 8, so 2 times, where all time goes into products
and both kernels are at their peak. With VNNI one instruction takes the 32 pairs, and the bound is 4 times."""
_VNNI = """This processor has VNNI instructions: one instruction multiplies and adds four times as many pairs of int8
as one of float32 of the same width (vpdpbusd: 32 pairs in 256 bits, against 8). So the arithmetic itself bounds the
gain to 4 times, where all time goes into products and both kernels are at their peak; a quarter of the bytes can gain
more than that where memory is what is waited for."""


@dataclass(frozen=True)
class Goals:
    """What a quantised file is to reach beside its float32 one."""

    best_speedup: float = 3.5  # at every batch size, in one runtime
    second_speedup: float = 3.0  # at every batch size, in each of two runtimes
    file_share: float = 0.255  # int8 bytes / float32 bytes, at most


def bound(flags: Collection[str]) -> list[str]:
    """What the arithmetic allows on a processor with these `flags`, as paragraphs; nothing where that is not known
    (of matrix units, for one)."""
    if "amx_int8" in flags:
        return []
    if any("vnni" in flag for flag in flags):
        return ["", _VNNI]
    return ["", _NO_VNNI] if "avx2" in flags else []


def speed_lines(name: str, threads: int, speedups: Speedups, goals: Goals) -> list[str]:
    """Speed-ups of one file at one number of threads by batch and runtime, and whether the goals are reached.

    A runtime counts by its least speed-up over the batch sizes.
    """
    if not speedups:
        return []
    batches = sorted(set.intersection(*(set(of_batch) for of_batch in speedups.values())))
    lines = [f"{name}, {threads} thread{'s' * (threads > 1)}:", ""]
    lines += [f"| batch | {' | '.join(speedups)} | best runtime |", "|---" * (len(speedups) + 2) + "|"]
    for batch in batches:
        cells = [f"{of_batch[batch]:.2f}" for of_batch in speedups.values()]
        best = max(speedups, key=lambda runtime: speedups[runtime][batch])
        lines.append(f"| {batch} | {' | '.join(cells)} | {best} |")
    least = {runtime: min(of_batch[batch] for batch in batches) for runtime, of_batch in speedups.items()}
    ranked = sorted(least, key=lambda runtime: -least[runtime])
    at = f"at batch {' and '.join(map(str, batches))}"
    first = _verdict(least[ranked[0]] >= goals.best_speedup)
    lines += ["", f"- At least {goals.best_speedup:g} times {at} in the best runtime: {first} "
                  f"({ranked[0]}: {least[ranked[0]]:.2f})."]  # fmt: skip
    if len(ranked) == 1:
        second = "not shown (one runtime was measured)"
    else:
        both = f"{ranked[0]}: {least[ranked[0]]:.2f}, {ranked[1]}: {least[ranked[1]]:.2f}"
        second = f"{_verdict(least[ranked[1]] >= goals.second_speedup)} ({both})"
    return [*lines, f"- At least {goals.second_speedup:g} times {at} in each of two runtimes: {second}.", ""]


def size_line(name: str, float_bytes: int, int8_bytes: int, goals: Goals) -> str:
    """Whether the file is as small as it is to be."""
    share = int8_bytes / float_bytes
    goal = f"{100 * goals.file_share:g} % of the float32 file"
    return f"- {name}: at most {goal}: {_verdict(share <= goals.file_share)} ({100 * share:.2f} %)."


def _verdict(reached: bool) -> str:
    return "reached" if reached else "missed"
