"""Figures of an answer in words: amounts with their unit and their interval."""

from __future__ import annotations

import math

from reports.advice_rows import Found
from reports.cells import bytes_text, ratio, rounded
from reports.pairing import Range

NAMES = {"size": "file", "params": "parameters", "macs": "MACs"}


def named(one: Found) -> str:
    """A row and where it was measured."""
    return f"{one.row.label} in {one.runtime} on {one.device}"


def with_interval(quantity: str, found: Range, *, is_ratio: bool = False) -> str:
    """A mean with its interval, where there is one to speak of."""
    text = amount_text(quantity, found.mean, is_ratio=is_ratio)
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return text
    if found.seeds == 2:
        return f"{text} (two seeds bound nothing)" if found.low < found.high else text
    if found.low == found.high:
        return text
    if quantity in ("accuracy", "drop"):
        return f"{text} (95 %: {found.low:.2f} to {found.high:.2f})"
    of = " of the samples" if quantity == "latency" and found.seeds == 1 and not is_ratio else ""
    low, high = (amount_text(quantity, one, is_ratio=is_ratio) for one in (found.low, found.high))
    if low == high:
        return text
    return f"{text} ({'middle half' if of else '95 %:'}{of} {low} to {high})"


def amount_text(quantity: str, value: float, *, is_ratio: bool = False) -> str:
    """An amount with its unit; a ratio to dense as a factor."""
    if math.isnan(value):
        return "not measured"
    if is_ratio:
        return ratio(value)
    if quantity == "accuracy":
        return f"{value:.2f} %"
    if quantity == "drop":
        return f"{value:.2f} points"
    if quantity == "latency":
        return f"{rounded(1000 * value)} ms"
    if quantity in ("size", "memory"):
        return bytes_text(value)
    return f"{value:,.0f}"
