"""How a number or a text is written in a cell: rounding, units, escapes. What was not measured is a dash."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

MISSING = "–"
_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
}


def known(value: Any) -> float | None:
    """The number, or None where it is missing or not finite."""
    if value is None or value is pd.NA:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def rounded(value: Any, digits: int = 3) -> str:
    """`digits` significant digits: 3.14, 31.4, 3,140."""
    number = known(value)
    if number is None:
        return MISSING
    number = float(f"{number:.{digits - 1}e}")  # rounds 0.9996 up before its digits are counted
    if number == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{number:,.{min(places, 12)}f}"


def percent(fraction: Any, places: int = 2) -> str:
    """A fraction in per cent, without the sign: 0.9861 -> 98.61."""
    number = known(fraction)
    return MISSING if number is None else f"{100 * number:.{places}f}"


def ratio(value: Any) -> str:
    """A factor: 3.91×."""
    number = known(value)
    return MISSING if number is None else f"{rounded(number)}×"


def kept_text(fraction: float) -> str:
    """A fraction as people say it: 1/8 where it is one over a whole number, else 0.3."""
    over = round(1 / fraction) if fraction > 0 else 0
    return f"1/{over}" if over > 1 and abs(1 / fraction - over) < 1e-9 * over else f"{fraction:g}"


def exact(value: Any) -> str:
    """A count to its last unit: 2,435."""
    number = known(value)
    return MISSING if number is None else f"{number:,.0f}"


def byte_unit(values: Iterable[Any]) -> tuple[str, float]:
    """The decimal unit that shows the smallest of `values` as at least 1: ("MB", 1e6)."""
    numbers = [number for value in values if (number := known(value))]
    smallest = min(numbers, default=1e6)
    return next((unit for unit in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if smallest >= unit[1]), ("B", 1.0))


def counted(number: int, noun: str) -> str:
    """A number of things: 1 epoch, 2 epochs."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def count_unit(values: Iterable[Any]) -> tuple[str, float]:
    """The factor that shows the smallest of `values` as at least 1: ("M", 1e6)."""
    unit, factor = byte_unit(values)
    return {"GB": "G", "MB": "M", "kB": "k", "B": ""}[unit], factor


def bytes_text(value: Any) -> str:
    """Bytes with their unit: 11.2 MB."""
    unit, factor = byte_unit([value])
    number = known(value)
    return MISSING if number is None else f"{rounded(number / factor)} {unit}"


def one_line(text: str) -> str:
    """Text on one line, runs of white space as single blanks."""
    return " ".join(text.split())


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table."""
    text = one_line(text).replace("\\", "\\\\")
    for sign in "|*_`<>[]#":
        text = text.replace(sign, f"\\{sign}")
    return text


def pipe_table(head: Sequence[str], lines: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A Markdown table of cells that are Markdown; the first `texts` columns to the left, the others to the right."""
    marks = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, marks, *lines))


def latex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_TEX.get(sign, sign) for sign in one_line(text))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters: the middle gives way to an ellipsis, since both ends tell chains apart."""
    text = one_line(text)
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[: limit - 1 - head]}…{text[len(text) - head :]}"
