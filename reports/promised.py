"""What each row promises in each runtime, beside what was measured of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.records import KernelCount, RunRecord, RuntimeResult
from reports import theory
from reports.rows import DENSE, find, middle, reference, same_runtime


@dataclass(frozen=True)
class Compared:
    """One row in one runtime at one batch size, beside the dense network."""

    record: RunRecord
    dense: RunRecord
    result: RuntimeResult
    dense_counts: tuple[KernelCount, ...]
    batch: int
    seconds: float
    dense_seconds: float

    @property
    def measured(self) -> float:
        return self.dense_seconds / self.seconds

    @property
    def gain(self) -> float:
        """Of the kernels' width."""
        return theory.gain_of_kernels(self.result.kernel_counts, self.dense_counts)

    @property
    def arithmetic(self) -> float:
        """The promise of MACs without zeros in the width of the kernels that ran."""
        return theory.by_nonzero_macs(self.record, self.dense) * self.gain

    @property
    def bytes(self) -> float:
        return theory.by_bytes(self.record, self.dense)

    @property
    def promised(self) -> float:
        return max((one for one in (self.arithmetic, self.bytes) if math.isfinite(one)), default=math.nan)

    @property
    def of_kernels(self) -> float:
        """What the kernels that ran promise: zeros are multiplied, and fewer bytes gain nothing."""
        return theory.by_macs(self.record, self.dense) * self.gain

    @property
    def macs_a_byte(self) -> float:
        """Of the dense network: multiply-accumulates of a pass for each byte of weights that it reads."""
        return self.batch * self.dense.macs / self.dense.weight_bytes if self.dense.weight_bytes else math.nan


def compared(records: Sequence[RunRecord], batches: Sequence[int] = (1, 32)) -> Iterator[Compared]:
    """Every compressed row, runtime and batch size whose promise and speed-up are known, in the given order."""
    for one in records:
        dense = reference(one, records)
        if one.chain == DENSE or one.status != "ok" or dense is None:
            continue
        for result in one.runtimes:
            beside = same_runtime(dense, result.runtime)
            for batch in batches if result.status == "ok" else ():
                own = middle(find(result.measurements, "latency", batch))
                other = middle(find(result.dense_measurements, "latency", batch))
                row = Compared(one, dense, result, beside.kernel_counts if beside else (), batch, own, other)
                if own > 0 and math.isfinite(other) and math.isfinite(row.promised):
                    yield row


def told(counts: Sequence[KernelCount]) -> str:
    """Kernels in words: fp32 Conv x2, fp32 Gemm x1."""
    return ", ".join(f"{one.precision} {one.kernel} x{one.calls}" for one in counts) or "not recorded"


def calls_of(counts: Sequence[KernelCount]) -> int:
    return sum(one.calls for one in counts)
