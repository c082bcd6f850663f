"""Why a row is slower, or faster, than its arithmetic and bytes allow: by stated rules, from records alone.

What a row promises is the larger of two: the dense multiply-accumulates over those of its own whose weight is not zero,
times what the width of its kernels' operands gains; and the dense bytes of weights over its own. Where the measured
speed-up is off by more than 2, each rule that holds says so with the numbers that it rests on. Rules of the first group
name what keeps the promise from being asked of the processor at all; where the speed-up is then what the kernels that
ran promise, no other rule is tried. What no rule accounts for is said to be unexplained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.records import EXACT_INT8, FORMS_WEIGHTS, SIMULATED_INT8
from reports import theory
from reports.cells import bytes_text, counted, percent, ratio, rounded
from reports.promised import Compared, calls_of, told
from reports.rows import find, middle, unstable
from reports.statistics import quartiles

APART = 2.0  # times: a measured speed-up further than this from the promised one is explained
FEW_ZEROS = 0.1  # of multiply-accumulates: fewer are not worth a word
MORE_CALLS = 1.25  # times as many kernel calls as the dense network
SHORT_CALL_S = 2e-5  # left for a kernel call: about what starting one, and what lies between two, takes
BUSY = 8.0  # multiply-accumulates for each byte of weights, above which a processor computes rather than reads
CACHE_BYTES = 2_000_000  # of weights that stay in a processor's cache from pass to pass
UNEXPLAINED = "not explained by what was recorded"


@dataclass(frozen=True)
class Reason:
    """A rule that holds for a row, and the numbers that it rests on."""

    rule: str
    numbers: str = ""

    @property
    def head(self) -> str:
        """The rule in words."""
        return RULES[self.rule]

    @property
    def words(self) -> str:
        return f"{self.head}: {self.numbers}" if self.numbers else self.head


Rule = Callable[[Compared], str]  # "" where it does not hold


def reasons(row: Compared) -> list[Reason]:
    """Why measured and promised differ by more than APART; nothing where they do not."""
    if row.promised / APART <= row.measured <= row.promised * APART:
        return []
    if row.measured > row.promised:
        return _holding(FASTER, row) or [Reason("unexplained")]
    found = _holding(NOT_ASKED_FOR, row)
    if any(one.rule in EXTRA_WORK for one in found) or (found and row.measured >= row.of_kernels / APART):
        return found
    found += _holding(SLOWER, row)
    more_calls = max(1.0, calls_of(row.result.kernel_counts) / max(1, calls_of(row.dense_counts)))
    if not found or row.measured * more_calls < 1 / APART:  # no rule so far makes a row slower than dense but by calls
        found.append(Reason("unexplained", "that it is slower than dense" if found else ""))
    return found


def _holding(rules: dict[str, Rule], row: Compared) -> list[Reason]:
    return [Reason(name, text) for name, rule in rules.items() if (text := rule(row))]


def _forms_weights(row: Compared) -> str:
    if FORMS_WEIGHTS not in row.result.kernel_notes:
        return ""
    return (
        f"products of constants, which the runtime did not fold, are among {told(row.result.kernel_counts)}; MACs do "
        "not count them"
    )


def _simulated(row: Compared) -> str:
    if SIMULATED_INT8 not in row.result.kernel_notes:
        return ""
    bits, kernels = rounded(theory.stored_bits(row.record), 2), row.result.kernel_counts
    return (
        f"codes of {bits} bits a value are read back to floats, activations are rounded by operations of their own, "
        f"and the products are in {', '.join(dict.fromkeys(one.precision for one in kernels))}"
    )


def _read_back(row: Compared) -> str:
    stored, kernels = theory.stored_bits(row.record), row.result.kernel_counts
    narrowest = min((theory.BITS.get(one.precision, 0) for one in kernels), default=0)
    if SIMULATED_INT8 in row.result.kernel_notes or not narrowest > 1.5 * stored:
        return ""
    return (
        f"they are stored in {rounded(stored, 2)} bits a value, and the products are in {narrowest} bits: "
        f"{told(kernels)}"
    )


def _left_wide(row: Compared) -> str:
    kernels = row.result.kernel_counts
    known = [one for one in kernels if one.precision in theory.BITS]
    narrowest = min(known, key=lambda one: theory.BITS[one.precision], default=None)
    if narrowest is None:
        return ""
    wide = [one for one in known if theory.BITS[one.precision] > theory.BITS[narrowest.precision]]
    if not wide:
        return ""
    calls, every = calls_of(wide), calls_of(kernels)
    return f"{calls} of {counted(every, 'kernel call')} did not run in {narrowest.precision}: {told(wide)}"


def _zeros(row: Compared) -> str:
    one = row.record
    share = 1 - (one.nonzero_macs or 0) / one.macs if one.macs and one.nonzero_macs is not None else 0.0
    if share < FEW_ZEROS or any("sparse" in kernel.kernel.lower() for kernel in row.result.kernel_counts):
        return ""
    return (
        f"the {percent(share, 1)} % of multiply-accumulates whose weight is zero are done all the same, which leaves "
        f"{ratio(row.of_kernels)} by MACs and width"
    )


def _exact(row: Compared) -> str:
    if EXACT_INT8 not in row.result.kernel_notes:
        return ""
    return "u8u8 instead of u8s8, whose sums would saturate on this processor; the width promises more than they give"


def _pieces(row: Compared) -> str:
    own, dense = calls_of(row.result.kernel_counts), calls_of(row.dense_counts)
    if not dense or own < MORE_CALLS * dense:
        return ""
    return (
        f"{counted(own, 'kernel call')} stand for {dense} of the dense network; each does less, and starting it is "
        "paid each time"
    )


def _short(row: Compared) -> str:
    own = calls_of(row.result.kernel_counts)
    left = row.dense_seconds / row.promised / own if own else math.inf
    of_one_image = middle(find(row.result.dense_measurements, "latency", 1)) / max(1, calls_of(row.dense_counts))
    if not left < min(SHORT_CALL_S, of_one_image):  # a call, computing included, was seen to take no longer than that
        return ""
    return (
        f"dense takes {rounded(1e3 * row.dense_seconds)} ms, so the promise would leave {rounded(1e6 * left, 2)} µs "
        f"for each of {counted(own, 'kernel call')} with what is around it: about what starting one takes"
    )


def _bytes_do_not_count(row: Compared) -> str:
    if not row.bytes > MORE_CALLS * row.arithmetic:
        return ""
    held = row.dense.weight_bytes or 0
    arithmetic = f"arithmetic promises {ratio(row.arithmetic)}, not {ratio(row.bytes)}"
    if row.macs_a_byte > BUSY:
        return (
            f"at batch {row.batch} dense does {rounded(row.macs_a_byte)} multiply-accumulates for each byte of "
            f"weights, so computing takes the time, and {arithmetic}"
        )
    if held <= CACHE_BYTES:
        return f"the dense weights too, {bytes_text(held)}, are few enough to stay in a cache, and {arithmetic}"
    return ""


def _bound_by_bytes(row: Compared) -> str:
    held = row.dense.weight_bytes or 0
    if not (row.arithmetic > MORE_CALLS * row.bytes and row.macs_a_byte <= BUSY and held > CACHE_BYTES):
        return ""
    return (
        f"at batch {row.batch} dense does {rounded(row.macs_a_byte)} multiply-accumulates for each byte of its "
        f"{bytes_text(held)}, which shrink {ratio(row.bytes)} only"
    )


def _unsteady(row: Compared) -> str:
    taken = [find(one, "latency", row.batch) for one in (row.result.measurements, row.result.dense_measurements)]
    spread = max((quartiles(one.samples).spread for one in taken if one and unstable(one)), default=0.0)
    off = max(row.promised / row.measured, row.measured / row.promised)
    if off > APART * (1 + spread):  # steady or not, it would be off
        return ""
    return f"quartiles lie {percent(spread, 0)} % of the median apart"


def _out_of_cache(row: Compared) -> str:
    held, kernels = row.dense.weight_bytes or 0, row.result.kernel_counts
    bits = max((theory.BITS.get(one.precision, 0) for one in kernels), default=0)
    own = row.record.parameters * bits / 8
    if not (held > CACHE_BYTES >= own > 0):
        return ""
    return f"{bytes_text(held)} of dense weights, its own as they are multiplied take {bytes_text(own)}"


def _fewer_calls(row: Compared) -> str:
    own, dense = calls_of(row.result.kernel_counts), calls_of(row.dense_counts)
    return f"{own} kernel calls do for {dense} of the dense network" if 0 < MORE_CALLS * own <= dense else ""


def _other_kernels(row: Compared) -> str:
    names = {one.kernel for one in row.dense_counts}
    others = [one for one in row.result.kernel_counts if one.kernel not in names]
    if not (others and names):
        return ""
    return f"{told(others)} where dense ran {told(row.dense_counts)}"


NOT_ASKED_FOR: dict[str, Rule] = {
    "forms weights": _forms_weights, "simulated": _simulated, "read back": _read_back, "left wide": _left_wide,
    "zeros": _zeros,
}  # fmt: skip
EXTRA_WORK = {"forms weights", "simulated"}  # of no known size: any slowness may be theirs
SLOWER: dict[str, Rule] = {
    "exact int8": _exact, "pieces": _pieces, "bytes": _bytes_do_not_count, "bound by bytes": _bound_by_bytes,
    "short": _short, "unsteady": _unsteady,
}  # fmt: skip
FASTER: dict[str, Rule] = {
    "out of cache": _out_of_cache, "fewer calls": _fewer_calls, "other kernels": _other_kernels, "unsteady": _unsteady,
}  # fmt: skip
RULES = {
    "forms weights": "weights are formed anew in each pass",
    "simulated": "int8 is simulated by float kernels",
    "read back": "weights of few bits are read back to wider numbers before the product",
    "left wide": "some kernel calls are wider than the others",
    "zeros": "dense kernels multiply zeros",
    "exact int8": "the slower exact int8 kernels ran",
    "pieces": "a layer became several smaller products",
    "bytes": "fewer bytes gain little where reading weights is not what takes the time",
    "bound by bytes": "reading weights takes the time",
    "short": "the pass is too short",
    "unsteady": "the timing is not steady",
    "out of cache": "the dense weights fall out of a cache that its own fit into",
    "fewer calls": "fewer kernel calls ran",
    "other kernels": "other kernels ran",
    "unexplained": UNEXPLAINED,
}
