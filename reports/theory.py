"""What a file's arithmetic and bytes would allow, whatever its kernels make of it: from records alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.records import KernelCount, RunRecord

BITS = {"int4": 4, "int8": 8, "fp16": 16, "bf16": 16, "fp32": 32, "fp64": 64}


def by_macs(one: RunRecord, dense: RunRecord | None) -> float:
    """Dense multiply-accumulates / this file's; NaN where either is not known."""
    return _ratio(dense.macs if dense else None, one.macs)


def by_nonzero_macs(one: RunRecord, dense: RunRecord | None) -> float:
    """The same of those whose weight is not zero: what kernels that skip zeros would gain."""
    return _ratio(dense.nonzero_macs if dense else None, one.nonzero_macs)


def by_bytes(one: RunRecord, dense: RunRecord | None) -> float:
    """Dense bytes of weights / this file's, each in the smaller of two forms (`least_bytes`)."""
    return _ratio(least_bytes(dense) if dense else None, least_bytes(one))


def least_bytes(one: RunRecord) -> float | None:
    """Bytes that a pass has to read of the weights at the least: all of them as dense codes, or the non-zeros and a bit
    for each place that says whether it holds one. What scales, indices and headers take is not counted."""
    weights, nonzeros = weights_of(one)
    if one.weight_bytes is None or not weights:
        return None
    return min(one.weight_bytes, one.weight_bytes * nonzeros / weights + weights / 8)


def stored_bits(one: RunRecord) -> float:
    """Mean width of a stored weight as a dense code, in bits; NaN where it is not known."""
    return _ratio(8 * one.weight_bytes if one.weight_bytes is not None else None, weights_of(one)[0])


def weights_of(one: RunRecord) -> tuple[int, int]:
    """Stored weights, values of tensors of two axes or more, and those that are not zero."""
    held = [entry for entry in one.ledger if len(entry.shape) > 1]
    if not held:
        return one.parameters, one.nonzeros
    return sum(entry.parameters for entry in held), sum(entry.nonzeros for entry in held)


def gain_of_kernels(own: Sequence[KernelCount], dense: Sequence[KernelCount]) -> float:
    """What the width of the operands promises of the kernels that ran: the mean width of the dense network's kernels /
    of these, over calls (int8 promises 4 times float32, bfloat16 twice); NaN where a precision is not known."""
    return _ratio(_mean_bits(dense), _mean_bits(own))


def _mean_bits(counts: Sequence[KernelCount]) -> float | None:
    if not counts or any(one.precision not in BITS for one in counts):
        return None
    return sum(BITS[one.precision] * one.calls for one in counts) / sum(one.calls for one in counts)


def _ratio(dense: float | None, own: float | None) -> float:
    return dense / own if dense and own else math.nan
