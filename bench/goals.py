"""What a compressed network is asked to reach: the grammar of `--at` and of `--search`, whose limits are those of
`--advise` (bench/questions.py) and whose amounts those of `--fail-if` (bench/bounds.py) too. No torch here.

AT         = TARGET ("," TARGET)*              size=8x  latency=2x  drop=0.5
SEARCH     = PART ("," PART)*                  size<=200KB,drop<=1,minimise latency
PART       = QUANTITY RELATION AMOUNT | ("minimise" | "minimize") QUANTITY
AMOUNT     = NUMBER [UNIT] with "<=", or NUMBER "x" with ">=": so many times smaller or faster than dense
QUANTITY   = size | latency | drop | params | macs; drop is in points of accuracy, dense less compressed
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from baselines.errors import UsageError, nearest

Quantity = Literal["size", "latency", "drop", "params", "macs"]
UNITS: dict[str, dict[str, float]] = {
    "size": {"b": 1, "kb": 1e3, "mb": 1e6, "kib": 1024, "mib": 1024**2},
    "latency": {"s": 1, "ms": 1e-3, "us": 1e-6},
    "params": {"": 1, "k": 1e3, "m": 1e6},
    "macs": {"": 1, "k": 1e3, "m": 1e6, "g": 1e9},
    "drop": {"": 1},
}
_EXAMPLES = {
    "size": "size<=200KB",
    "latency": "latency<=2ms",
    "memory": "memory<=200MB",
    "params": "params<=50k",
    "macs": "macs<=2M",
}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:e-?[0-9]+)?|\.[0-9]+)\s*([a-z]*)", re.IGNORECASE)
_PART = re.compile(r"\s*([^<>=\s]+)\s*(<=|>=|=|<|>)\s*(.+?)\s*")
MINIMISE = ("minimise", "minimize")
MATCHABLE = ("size", "latency", "drop")


@dataclass(frozen=True)
class Levels:
    """What is known of one file, of those quantities that were asked for. Smaller is better in all of them."""

    size: float  # bytes
    drop: float  # points of validation accuracy, dense less this
    params: float
    macs: float
    latency: float = math.nan  # s

    def of(self, quantity: Quantity) -> float:
        return float(getattr(self, quantity))


@dataclass(frozen=True)
class Target:
    """A point at which methods are compared: a ratio to dense, or a drop in points."""

    quantity: Quantity
    value: float

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{self.quantity}={self.value:g}{'' if self.quantity == 'drop' else 'x'}"


@dataclass(frozen=True)
class Limit:
    """A bound that a network must keep."""

    quantity: Quantity
    value: float  # a bound in bytes, seconds, points or a count; a ratio to dense where `ratio`
    ratio: bool = False

    def bound(self, dense: Levels) -> float:
        """The most that the quantity may be."""
        return dense.of(self.quantity) / self.value if self.ratio else self.value

    def excess(self, found: Levels, dense: Levels) -> float:
        """How far beyond the bound, 0 within it: in points for a drop, else in doublings."""
        level, bound = found.of(self.quantity), self.bound(dense)
        if self.quantity == "drop":
            return max(0.0, level - bound)
        return max(0.0, math.log2(max(level, 1e-12) / bound))


@dataclass(frozen=True)
class Goal:
    """What a search is to find: the least of one quantity within limits on others."""

    limits: tuple[Limit, ...]
    least: Quantity = "size"
    text: str = field(default="", compare=False)  # as it was typed

    @property
    def needs_latency(self) -> bool:
        return "latency" in (self.least, *(limit.quantity for limit in self.limits))

    def excess(self, found: Levels, dense: Levels) -> float:
        """The sum over all limits; 0 where every one is kept."""
        return sum(limit.excess(found, dense) for limit in self.limits)

    @property
    def before_training(self) -> Goal:
        """The limits on what training hardly changes."""
        return Goal(tuple(limit for limit in self.limits if limit.quantity != "drop"), self.least)

    def gain(self, found: Levels, dense: Levels) -> float:
        """How far the quantity to be made least is below dense: in doublings, or in points for a drop."""
        level = found.of(self.least)
        if self.least == "drop":
            return -level
        return math.log2(dense.of(self.least) / max(level, 1e-12))


def parse_targets(text: str) -> tuple[Target, ...]:
    """What `--at` asks for, each once.

    Raises:
        UsageError: an unknown quantity or a value that cannot be.
    """
    targets = []
    for part in text.split(","):
        name, equals, typed = (one.strip() for one in part.partition("="))
        if name not in MATCHABLE:
            raise UsageError(f"--at cannot match {name!r}: {nearest(name, MATCHABLE)}")
        quantity: Quantity = name  # type: ignore[assignment]
        number, unit = amount(typed) if equals else (math.nan, "")
        if unit != ("" if quantity == "drop" else "x") or not number > 0:
            example = "drop=0.5, in points" if quantity == "drop" else f"{quantity}=2x, a ratio to dense"
            raise UsageError(f"--at {part.strip()} is not understood: write {example}")
        if quantity != "drop" and number <= 1:
            raise UsageError(f"--at {part.strip()} asks for no less than dense: give a ratio above 1x")
        targets.append(Target(quantity, number))
    return tuple(dict.fromkeys(targets))


def parse_goal(text: str) -> Goal:
    """What `--search` asks for.

    Raises:
        UsageError: an unknown quantity, relation or unit, no limit, or two things to make least.
    """
    limits: list[Limit] = []
    least: list[Quantity] = []
    for part in text.split(","):
        verb, _, rest = part.strip().partition(" ")
        if verb in MINIMISE:
            least.append(quantity_of(rest.strip(), "--search", UNITS))  # type: ignore[arg-type]
        else:
            limits.append(Limit(*read_limit(part, "--search", UNITS)))  # type: ignore[arg-type]
    if len(least) > 1:
        raise UsageError(f"--search {text!r} names {len(least)} things to make least: name one")
    goal = Goal(tuple(limits), least[0] if least else "size", text)
    bounded = {limit.quantity for limit in limits}
    if not bounded - {goal.least} or not {goal.least, *bounded} & {"drop"}:
        raise UsageError(
            f"--search {text!r} does not say what to keep: it takes a drop and something to make small, "
            'as in --search "size<=200KB,drop<=1" or --search "size<=25KB,minimise drop"'
        )
    return goal


def read_limit(part: str, flag: str, units: Mapping[str, Mapping[str, float]]) -> tuple[str, float, bool]:
    """Quantity, value in its base unit, and whether the value is a ratio to dense, of `size<=200KB` or `size>=8x`.

    flag: the option it was typed after; units: of each quantity that it may name, those of its amounts.

    Raises:
        UsageError: it cannot be read, or nothing can meet it.
    """
    found = _PART.fullmatch(part)
    if not found:
        raise UsageError(f"{flag} cannot read {part.strip()!r}: write QUANTITY<=VALUE, as in size<=200KB or drop<=1")
    quantity, relation = quantity_of(found[1], flag, units), found[2]
    number, unit = amount(found[3])
    ratio = unit == "x" and quantity != "drop"
    if ratio and relation == ">=":
        return quantity, _above_zero(number, part, flag), True
    if relation != "<=" or ratio:
        how = f"{quantity}>=8x" if ratio else _EXAMPLES.get(quantity, "drop<=1")
        raise UsageError(f"{flag} cannot use {part.strip()!r}: write {how}")
    if unit not in units[quantity]:
        known = ", ".join(one for one in units[quantity] if one) or "none: it is in points"
        raise UsageError(f"{flag} {part.strip()}: {quantity} has no unit {unit!r}; it takes {known}"
                         f"{'' if quantity == 'drop' else ', or >= and x for a ratio'}")  # fmt: skip
    value = number * units[quantity][unit]
    return quantity, value if quantity == "drop" else _above_zero(value, part, flag), False


def _above_zero(value: float, part: str, flag: str) -> float:
    if not value > 0:
        raise UsageError(f"{flag} {part.strip()} can be met by nothing: give a number above 0")
    return value


def quantity_of(name: str, flag: str, known: Iterable[str]) -> str:
    """The name, which has to be one of `known`.

    Raises:
        UsageError: it is not; the message says which is nearest.
    """
    if name not in known:
        raise UsageError(f"{flag} knows no quantity {name!r}: {nearest(name, known)}")
    return name


def amount(text: str) -> tuple[float, str]:
    """Number and unit, in small letters; not a number where there is none."""
    found = _AMOUNT.fullmatch(text)
    return (float(found[1]), found[2].lower()) if found else (math.nan, text)
