"""What each row that was asked for has over its controls, by stated rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.records import Role, RunRecord
from reports.cells import bytes_text, ratio
from reports.chains import parse
from reports.comparisons import SAME_BYTES, Difference, at_equal_bytes
from reports.pairing import ALIKE, BETTER, NO_SEED, WORSE, Row, compared, rows_of, same_place, smaller_by, verdict
from reports.roles import ASKED, CONTROLS, is_of, serves_as
from reports.rows import DENSE, extra_epochs
from reports.sweeps import Curve, point_of

TRADE = "a trade"  # one is smaller, the other more accurate
SMALLER, LARGER = (f"{size}; accuracy {ALIKE}" for size in ("smaller", "larger"))
NONE_NEAR = "no comparison"  # no small dense network of the row's bytes, nor two near enough on either side of it
MOST_APART = 2.0  # bytes of two small dense networks: over more, accuracy is no straight line in their logarithm
MARGIN = 0.005  # of accuracy: an interval that reaches no further below zero leaves no loss worth the name
SAME_FILE = 0.01  # of its bytes: two files are of one size
UNCORRECTED = (
    "Each interval is that of one comparison, not corrected for how many there are; marks are, by a second test too, "
    "and may call alike what is told apart here."
)
CONTROL_RULE = (
    "Better or worse means that the 95 % interval of the difference in accuracy, the row's less its control's, "
    "leaves zero out; otherwise the two cannot be told apart. Against dense in 16 bits and the xz file the bytes "
    f"count too: a row is better where its file is smaller by more than {100 * SAME_FILE:g} % and the interval leaves "
    f"no room for a loss of more than {100 * MARGIN:g} points, or where it is more accurate at no larger file; worse "
    "where the same is true of the control; a trade where one is smaller and the other more accurate. The small "
    f"dense network is one whose bytes differ from the row's by at most {100 * SAME_BYTES:g} %, the one trained for "
    "the row before others. Where there is none, `interpolated` marks the straight line, over the logarithm of the "
    f"bytes, between the nearest small ones on either side, if their bytes are at most {MOST_APART:g} times apart: no "
    "such network was trained, and since accuracy levels off with size the line lies rather below it. Otherwise there "
    "is no "
    "comparison. `~` marks a control of another row, the nearest there is. " + UNCORRECTED
)


@dataclass(frozen=True)
class Match:
    """A row beside one control."""

    row: Row
    role: Role
    control: Row | None  # None of a small dense network that is interpolated, or that there is not
    gap: Difference | None  # accuracy of the row less that of the control; None without a seed in common or a control
    smaller: float  # the control's bytes over the row's
    verdict: str  # BETTER, WORSE, ALIKE, TRADE, SMALLER, LARGER, NO_SEED or NONE_NEAR
    note: str = ""
    read_between: tuple[Row, ...] = ()  # the small dense networks that an interpolated one lies between

    @property
    def interpolated(self) -> bool:
        """Whether the control was not trained but read between two that were."""
        return self.control is None and self.gap is not None


def matches(records: Sequence[RunRecord], kinds: Sequence[Role] = CONTROLS) -> list[Match]:
    """Each row that was asked for, dense and the controls apart, beside each of its controls that was measured."""
    rows = [row for row in rows_of(records) if row.good]
    controls = {role: [row for row in rows if serves_as(row.records[0], role)] for role in kinds}
    found: list[Match] = []
    for row in rows:
        if row.role != ASKED or row.chain == DENSE:
            continue
        for role, every in controls.items():
            its = [one for one in every if same_place(one, row)]
            if row not in its:
                found += _RULES[role](row, role, its)
    return found


def refused(records: Sequence[RunRecord]) -> list[tuple[Role, str, list[RunRecord]]]:
    """The kind of control, reason with status, and the records, of controls that were refused or failed."""
    found: dict[tuple[Role, str], list[RunRecord]] = {}
    for one in records:
        if one.role in CONTROLS and one.status != "ok":
            found.setdefault((one.role, f"{one.status}: {one.reason}"), []).append(one)
    return [(role, reason, of) for (role, reason), of in found.items()]


def against_file(gap: Difference | None, smaller: float) -> str:
    """The verdict where bytes count as well; smaller: the other's bytes over the row's."""
    if gap is None:
        return NO_SEED
    size = 0 if abs(math.log(smaller)) <= math.log1p(SAME_FILE) else 1 if smaller > 1 else -1
    accuracy = 1 if gap.better else -1 if gap.worse else 0
    if size * accuracy < 0:
        return TRADE
    if accuracy or not size:
        return {1: BETTER, -1: WORSE, 0: ALIKE}[accuracy]
    if size > 0:
        return BETTER if gap.low >= -MARGIN else SMALLER
    return WORSE if gap.high <= MARGIN else LARGER


def size_text(one: Match) -> str:
    """How many times smaller the row's file is than a control's whose bytes count, after a comma; else nothing."""
    return f", {ratio(one.smaller)}" if one.role in ("half", "xz") else ""


def epochs_of(row: Row) -> int:
    """Extra epochs of a row's first seed."""
    return extra_epochs(row.good[row.seeds[0]])


def _own(row: Row, role: Role, its: Sequence[Row]) -> list[Row]:
    return [one for one in its if is_of(one.records[0], role, row.chain)]


def _linked(row: Row, role: Role, its: Sequence[Row]) -> list[Match]:
    """Only the row's own controls."""
    return [_by_accuracy(row, role, one) for one in _own(row, role, its)]


def _longer(row: Row, role: Role, its: Sequence[Row]) -> list[Match]:
    """The row's own, or the one with the nearest number of extra epochs, the more of two as near. Of a row that was not
    trained further, only its own."""
    if own := _own(row, role, its):
        return [_by_accuracy(row, role, one) for one in own]
    epochs = epochs_of(row)
    if not its or not epochs:
        return []
    nearest = min(its, key=lambda one: (abs(epochs_of(one) - epochs), -epochs_of(one)))
    note = "" if epochs_of(nearest) == epochs else f"~{epochs_of(nearest)} extra epochs, the row {epochs}"
    return [_by_accuracy(row, role, nearest, note)]


def _small(row: Row, role: Role, its: Sequence[Row]) -> list[Match]:
    """One of the row's bytes, or one that is interpolated, or why there is no comparison; nothing in a run without."""
    as_large = [one for one in its if abs(smaller_by(row, one) - 1) <= SAME_BYTES]
    own = _own(row, role, as_large)
    if found := own or sorted(as_large, key=lambda one: abs(math.log(smaller_by(row, one)))):
        note = "" if own else f"~that of another row, {bytes_text(found[0].file_bytes)}"
        return [_by_accuracy(row, role, found[0], note)]
    if not its:
        return []
    around = _around(row, its)
    if len(around) < 2:
        bound = "smaller" if around[0].file_bytes < row.file_bytes else "larger"
        return [Match(row, role, None, None, math.nan, NONE_NEAR, f"all small ones are {bound}")]
    small, large = (one.file_bytes for one in around)
    if large > MOST_APART * small * (1 + 1e-9):  # geometric means of one size differ in their last digits
        note = f"the nearest, {bytes_text(small)} and {bytes_text(large)}, are {ratio(large / small)} apart"
        return [Match(row, role, None, None, math.nan, NONE_NEAR, note)]
    curves = [Curve(role, parse(DENSE), tuple(point_of(one.records) for one in of)) for of in ([row], around)]
    found_there = at_equal_bytes(*curves)
    if not found_there:
        return [Match(row, role, None, None, math.nan, NO_SEED)]
    gap = found_there[0].difference
    return [Match(row, role, None, gap, 1.0, verdict(gap), "interpolated", around)]


def _around(row: Row, its: Sequence[Row]) -> tuple[Row, ...]:
    """The nearest of no more and the nearest of no fewer bytes."""
    ordered = sorted(its, key=lambda one: one.file_bytes)
    below = [one for one in ordered if one.file_bytes <= row.file_bytes]
    above = [one for one in ordered if one.file_bytes >= row.file_bytes]
    return (*below[-1:], *above[:1])


def _one(row: Row, role: Role, its: Sequence[Row]) -> list[Match]:
    """Dense in another form: one for all rows."""
    found = []
    for one in its[:1]:
        gap, smaller = compared(row, one), smaller_by(row, one)
        found.append(Match(row, role, one, gap, smaller, against_file(gap, smaller)))
    return found


def _by_accuracy(row: Row, role: Role, control: Row, note: str = "") -> Match:
    gap = compared(row, control)
    return Match(row, role, control, gap, smaller_by(row, control), verdict(gap), note)


_RULES: dict[Role, Callable[[Row, Role, Sequence[Row]], list[Match]]] = {
    "longer": _longer,
    "small": _small,
    "random": _linked,
    "half": _one,
    "xz": _one,
    "untaught": _linked,
}
