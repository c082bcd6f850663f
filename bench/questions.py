"""What `--advise` is asked: the limits of `--search`, those on accuracy and memory, and which rows are meant. No torch.

QUESTION   = PART ("," PART)*                  drop<=0.5,size<=4MB,device=cpu
PART       = LIMIT | ("minimise" | "minimize") QUANTITY | SETTING "=" TEXT
LIMIT      = as in bench/goals.py, of size | latency | drop | params | macs | memory; or accuracy>=NUMBER in per cent
SETTING    = device | net | dataset | runtime: where rows were measured; batch: of latency, 1 or 32
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from baselines.errors import UsageError, nearest
from bench.goals import MINIMISE, UNITS, amount, quantity_of, read_limit

_FLAG = "--advise"
_UNITS = {**UNITS, "memory": UNITS["size"]}
_QUALITY = {"drop", "accuracy"}
SETTINGS = ("device", "net", "dataset", "runtime", "batch")
BATCHES = ("1", "32")  # that runs measure
_SETTING = re.compile(r"\s*([^<>=\s]+)\s*=\s*(.*?)\s*")
_ACCURACY = re.compile(r"\s*accuracy\s*(<=|>=|=|<|>)\s*(.*?)\s*")
_EXAMPLE = '--advise "drop<=0.5,size<=4MB,device=cpu"'


@dataclass(frozen=True)
class Condition:
    """One limit that a row has to keep."""

    quantity: str
    value: float  # at most so many bytes, seconds, points or counts; of accuracy at least so many per cent
    ratio: bool = False  # at least so many times smaller or faster than dense
    text: str = field(default="", compare=False)  # as it was typed


@dataclass(frozen=True)
class Question:
    """Which row is wanted."""

    conditions: tuple[Condition, ...]
    least: str = "size"  # what is to be least among the rows that keep them
    places: tuple[tuple[str, str], ...] = ()  # device, net, dataset and runtime that rows must be of
    batch: int = 1  # of the latency
    text: str = field(default="", compare=False)


def parse_question(text: str) -> Question:
    """What `--advise` asks.

    Where neither a drop nor an accuracy is limited, the row that loses least is wanted; otherwise the smallest file,
    unless something else is to be minimised.

    Raises:
        UsageError: an unknown quantity, setting, relation or unit; no limit; one thing said twice.
    """
    conditions: list[Condition] = []
    least: list[str] = []
    settings: dict[str, str] = {}
    for part in text.split(","):
        verb, _, rest = part.strip().partition(" ")
        if verb in MINIMISE:
            least.append(quantity_of(rest.strip(), _FLAG, _UNITS))
        elif (found := _SETTING.fullmatch(part)) and found[1] not in (*_UNITS, "accuracy"):
            name = _setting(found[1], found[2], part)
            if name in settings:
                raise UsageError(f"{_FLAG} names two of {name}: ask for one, or leave {name}= out to be told of all")
            settings[name] = found[2]
        else:
            conditions.append(_condition(part))
    if len(least) > 1:
        raise UsageError(f"{_FLAG} {text!r} names {len(least)} things to make least: name one")
    if not conditions:
        raise UsageError(f"{_FLAG} {text!r} has no limit to keep: give one, as in {_EXAMPLE}")
    keeps_quality = bool(_QUALITY & {one.quantity for one in conditions})
    batch = int(settings.pop("batch", "1"))
    aim = least[0] if least else "size" if keeps_quality else "drop"
    return Question(tuple(conditions), aim, tuple(settings.items()), batch, text)


def _condition(part: str) -> Condition:
    found = _ACCURACY.fullmatch(part)
    if not found:
        return Condition(*read_limit(part, _FLAG, _UNITS), text=part.strip())
    number, unit = amount(found[2].removesuffix("%").rstrip())
    if found[1] != ">=" or unit or not 0 <= number <= 100:
        raise UsageError(f"{_FLAG} cannot use {part.strip()!r}: write accuracy>=98, in per cent")
    return Condition("accuracy", number, text=part.strip())


def _setting(name: str, value: str, part: str) -> str:
    if name not in SETTINGS:
        raise UsageError(f"{_FLAG} cannot use {part.strip()!r}: {nearest(name, (*SETTINGS, *_UNITS, 'accuracy'))}")
    if not value:
        raise UsageError(f"{_FLAG} {part.strip()} names nothing: write {name}=..., or leave it out")
    if name == "device" and not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", value):
        raise UsageError(f"{_FLAG} {part.strip()}: a device is cpu, cuda or cuda:N")
    if name == "batch" and value not in BATCHES:
        raise UsageError(f"{_FLAG} {part.strip()}: latency is measured at batch {' and '.join(BATCHES)}")
    return name
