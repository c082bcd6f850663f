"""The section of a report on what goes well together: chains beside their parts, and orders beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.records import RunRecord
from reports.cells import MISSING, markdown, pipe_table, ratio
from reports.chain_gains import GAIN_RULE, ORDER_RULE, Orders, Together, orders, refused_orders, together
from reports.crowd import LISTED
from reports.pairing import NO_SEED, Range, Row, code, places_text, points, rows_of


def chains_section(records: Sequence[RunRecord]) -> str:
    """The section as Markdown; empty where no chain has all its parts beside it and there are no orders."""
    found, two = together(records), orders(records)
    rows = rows_of(records)
    parts = []
    if found:
        parts += [_sizes(found), _times(found), f"{GAIN_RULE} All seeds and runtimes: [chains.csv](chains.csv).\n"]
    if two:
        parts += ["### Orders\n", _orders(two, rows), f"{ORDER_RULE}\n"]
    if lines := [f"{places_text(row, rows)}{code(row)}: {markdown(row.trouble)}" for row in refused_orders(records)]:
        more = [f"and {len(lines) - LISTED:,} more: [table.csv](table.csv)"] if len(lines) > LISTED else []
        parts += ["Orders that there are not:\n", "".join(f"- {line}\n" for line in [*lines[:LISTED], *more])]
    return "\n".join(["## What goes well together\n", *(part for part in parts if part)]) if parts else ""


def _sizes(found: Sequence[Together]) -> str:
    head = [
        "chain", "seeds", "compression", "product of its parts'", "compression / product", "drop, points",
        "sum of its parts'", "further drop, points",
    ]  # fmt: skip
    lines = [
        [
            f"{_place(one, found)}{markdown(one.label)}",
            str(len(one.seeds)),
            ratio(one.compression.mean),
            ratio(one.parts_compression.mean),
            _factor(one.quotient),
            _points(one.drop.mean),
            _points(one.parts_drop.mean),
            _interval(one.more_drop),
        ]
        for one in _most(found)
    ]
    return pipe_table(head, lines) + _rest(found)


def _times(found: Sequence[Together]) -> str:
    lines = [
        [f"{_place(one, found)}{markdown(one.label)}", markdown(runtime), *cells]
        for one in _most(found)
        for runtime, speed, parts, quotient in one.faster
        for cells in [[ratio(speed.mean), ratio(parts.mean), _factor(quotient)]]
    ]
    head = ["chain", "runtime", "speed-up, batch 1", "product of its parts'", "speed-up / product"]
    return pipe_table(head, lines, texts=2) if lines else ""


def _orders(two: Sequence[Orders], rows: Sequence[Row]) -> str:
    lines = []
    for one in two[:LISTED]:
        gap = points(one.gap) if one.gap else NO_SEED
        names = [f"{places_text(one.first, rows)}{markdown(one.first.label)}", markdown(one.second.label)]
        lines.append([*names, gap, ratio(one.smaller), f"**{one.verdict}**"])
    head = ["order", "against", "accuracy, points (95 %)", "times smaller", "the first is"]
    more = f"\nand {len(two) - LISTED:,} more\n" if len(two) > LISTED else ""
    return pipe_table(head, lines, texts=2) + more


def _most(found: Sequence[Together]) -> Sequence[Together]:
    """As many chains as can be read, those with the largest compression first where there are more."""
    if len(found) <= LISTED:
        return found
    return sorted(found, key=lambda one: -one.compression.mean)[:LISTED]


def _rest(found: Sequence[Together]) -> str:
    if len(found) <= LISTED:
        return ""
    return f"\nThe {LISTED} with the largest compression of {len(found)} chains.\n"


def _place(one: Together, found: Sequence[Together]) -> str:
    several = len({(other.net, other.dataset) for other in found}) > 1
    return f"{markdown(f'{one.net} on {one.dataset}')}: " if several else ""


def _factor(one: Range) -> str:
    """A factor with its interval, where there is one: 1.02× (0.98× to 1.06×)."""
    if math.isnan(one.low):
        return ratio(one.mean)
    return f"{ratio(one.mean)} ({ratio(one.low)} to {ratio(one.high)})"


def _points(share: float) -> str:
    return f"{100 * share:.2f}" if math.isfinite(share) else MISSING


def _interval(one: Range) -> str:
    if math.isnan(one.low):
        return f"{100 * one.mean:+.2f}" if math.isfinite(one.mean) else MISSING
    return f"{100 * one.mean:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f})"
