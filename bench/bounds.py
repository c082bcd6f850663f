"""What makes `--compare OLD NEW` fail: the grammar of `--fail-if`. No torch here.

FAIL_IF    = BOUND ("," BOUND)*                accuracy<-0.3,size>+2%,latency>+10%
BOUND      = QUANTITY ("<" | ">") CHANGE ["significantly"]
CHANGE     = ("+" | "-") NUMBER [UNIT] | "0"   NEW less OLD: in points of accuracy, in % of OLD, or in the unit
QUANTITY   = accuracy | size | params | macs | memory | latency | latency_b32 | latency_ms | latency_ms_b32
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from baselines.errors import UsageError
from bench.goals import UNITS, amount, quantity_of

_FLAG = "--fail-if"
_COUNT = {name: factor for name, factor in UNITS["params"].items() if name}
_TIME = UNITS["latency"]
# of each quantity the units of a change beside %; none: it takes % only
_UNITS: dict[str, dict[str, float]] = {
    "accuracy": {},
    "size": UNITS["size"],
    "params": _COUNT,
    "macs": {name: factor for name, factor in UNITS["macs"].items() if name},
    "memory": UNITS["size"],
    "latency": {},
    "latency_b32": {},
    "latency_ms": _TIME,
    "latency_ms_b32": _TIME,
}
_EXAMPLES = {"accuracy": "accuracy<-0.3"}
_BOUND = re.compile(r"\s*([^<>=\s]+)\s*(<=|>=|=|<|>)\s*([+-]?)\s*(.*?)\s*?(\s+significantly)?\s*")


@dataclass(frozen=True)
class Bound:
    """A change that fails the comparison."""

    quantity: str
    relation: str  # "<" or ">"
    value: float  # with its sign: points of accuracy, per cent, or bytes, seconds, a count
    percent: bool = False
    significantly: bool = False  # and only where the change is more than noise
    text: str = field(default="", compare=False)  # as it was typed

    def broken_by(self, change: float) -> bool:
        """Whether a change, in the bound's unit, is beyond it; what is a rounding error beyond is not."""
        beyond = self.value - change if self.relation == "<" else change - self.value
        return beyond > 1e-9 * max(1.0, abs(self.value))


def parse_bounds(text: str) -> tuple[Bound, ...]:
    """What `--fail-if` forbids, each once.

    Raises:
        UsageError: an unknown quantity, relation or unit, or a bound without a sign.
    """
    return tuple(dict.fromkeys(_bound(part) for part in text.split(",")))


def _bound(part: str) -> Bound:
    typed = part.strip()
    found = _BOUND.fullmatch(part)
    if not found:
        raise UsageError(f"{_FLAG} cannot read {typed!r}: write QUANTITY<-CHANGE or QUANTITY>+CHANGE, "
                         'as in "accuracy<-0.3,size>+2%"')  # fmt: skip
    if found[1] == "drop":
        raise UsageError(f"{_FLAG} cannot use {typed!r}: a drop is held as what accuracy loses: write accuracy<-0.3")
    quantity, relation, sign = quantity_of(found[1], _FLAG, _UNITS), found[2], found[3]
    example = _EXAMPLES.get(quantity, f"{quantity}>+2%")
    number, unit = _number(found[4])
    if relation not in "<>" or math.isnan(number):
        raise UsageError(f"{_FLAG} cannot use {typed!r}: write {example}")
    if not sign and number:
        raise UsageError(f"{_FLAG} cannot use {typed!r}: a bound is a change from OLD to NEW and has a sign: "
                         f"write {quantity}{relation}{'-' if relation == '<' else '+'}{found[4]}")  # fmt: skip
    percent = unit == "%"
    if quantity == "accuracy" and unit:
        raise UsageError(f"{_FLAG} {typed}: accuracy is in points, without a unit: write {example}")
    if quantity in ("latency", "latency_b32") and not percent and number:
        plain = quantity.replace("latency", "latency_ms")
        raise UsageError(f"{_FLAG} {typed}: {quantity} is held beside dense of its own run, and takes %: write "
                         f"{quantity}>+10%, or for plain time {plain}>+0.5ms")  # fmt: skip
    if quantity != "accuracy" and not percent and number and unit not in _UNITS[quantity]:
        raise UsageError(f"{_FLAG} {typed}: {quantity} takes %, {', '.join(_UNITS[quantity])}: write {example}")
    if found[5] and quantity != "accuracy":
        raise UsageError(
            f"{_FLAG} {typed}: only a change of accuracy can be significant: of {quantity} write {example}"
        )
    value = (-1 if sign == "-" else 1) * number * (1.0 if percent else _UNITS[quantity].get(unit, 1.0))
    return Bound(quantity, relation, value + 0.0, percent, bool(found[5]), typed)


def _number(text: str) -> tuple[float, str]:
    return (amount(text[:-1].rstrip())[0], "%") if text.endswith("%") else amount(text)
