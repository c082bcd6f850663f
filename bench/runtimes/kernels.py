"""Which kernels multiplied, and in what precision, as a runtime itself reports it. Imports no torch."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from bench.records import KernelCount

UNKNOWN = "unknown"
SHARE_OF_ZEROS_WORTH_A_WORD = 0.1


@dataclass(frozen=True)
class Kernels:
    """Calls in one pass of the kernels that multiply, and what else has to be known to judge their speed."""

    counts: tuple[KernelCount, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, calls: Counter[tuple[str, str]], *notes: str) -> Kernels:
        """calls: how often each (precision, kernel) is called, in the order to be told; notes: empty ones are none."""
        counts = tuple(KernelCount(precision, kernel, count) for (precision, kernel), count in calls.items())
        return cls(counts, tuple(note for note in notes if note))

    def words(self) -> str:
        """One line for the table: "int8 QLinearConv x20, fp32 Gemm x1 (a note)"."""
        told = ", ".join(f"{one.precision} {one.kernel} x{one.calls}" for one in self.counts)
        return (told or "no layer that multiplies") + "".join(f" ({note})" for note in self.notes)


def note_on_zeros(zeros: int, weights: int) -> str:
    """What dense kernels make of pruned weights, or nothing if hardly any is zero."""
    share = zeros / max(weights, 1)
    if share < SHARE_OF_ZEROS_WORTH_A_WORD:
        return ""
    percent = f"{100 * share:.0f}" if share < 0.99 else f"{math.floor(10_000 * share) / 100:.2f}"  # 100 only if all are
    return f"dense fallback: the {percent} % of weights that are zero are multiplied"
