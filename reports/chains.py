"""Chains as records name them: from canonical text, NAME:KEY=VALUE:...+NAME:..., to stages, and what is swept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

LEAST = 3  # values of one hyperparameter that make a sweep

Stage = tuple[str, tuple[tuple[str, str], ...]]  # name, its settings in order
Stages = tuple[Stage, ...]


@dataclass(frozen=True)
class Place:
    """A chain on a network: which layers its first method compresses, and the rest of it."""

    net: str
    dataset: str
    scope: str
    stages: Stages  # without the scope


def parse(chain: str) -> Stages:
    """The stages of a chain's canonical text."""
    parts = (_split(stage, ":") for stage in _split(chain, "+"))
    return tuple((name, tuple((k, v) for k, _, v in (s.partition("=") for s in settings))) for name, *settings in parts)


def _split(text: str, separator: str) -> list[str]:
    """Splits at `separator` outside quotes."""
    parts, quote = [""], ""
    for letter in text:
        if letter == separator and not quote:
            parts.append("")
            continue
        if letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
        parts[-1] += letter
    return parts


def stage_texts(chain: str) -> list[str]:
    """The canonical text of each stage of a chain."""
    return [":".join([name, *(f"{key}={value}" for key, value in settings)]) for name, settings in parse(chain)]


def named_chains(value: str) -> list[str]:
    """The canonical texts of the chains that a setting's value lists, as the members of an ensemble are."""
    inside = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return [one.strip() for one in _split(inside, ",")]


def placed(net: str, dataset: str, chain: str) -> Place:
    """The chain, with `layers` of its first method apart; empty where it has none."""
    (name, settings), *rest = parse(chain)
    scope = dict(settings).get("layers", "")
    first = (name, tuple(setting for setting in settings if setting[0] != "layers"))
    return Place(net, dataset, scope, (first, *rest))


def methods(stages: Stages) -> tuple[str, ...]:
    """The names of a chain's methods."""
    return tuple(name for name, _ in stages)


def swept_settings(places: Iterable[Place], only: str = "") -> dict[tuple[str, ...], tuple[int, int]]:
    """For each sequence of methods that is swept: which setting of which stage: the one that takes the most values,
    LEAST at least, the others being equal; with `only` the setting of that name, of one value too. A random draw is no
    quantity, and is not swept."""
    values: dict[tuple[tuple[str, ...], tuple[int, int], object], set[float]] = {}
    for row in places:
        for i, (_, settings) in enumerate(row.stages):
            for j, (key, text) in enumerate(settings):
                wanted = key == only if only else key != "draw"
                if wanted and (number := _number(text)) is not None:
                    others = (row.net, row.dataset, row.scope, without(row.stages, i, j)[0])
                    values.setdefault((methods(row.stages), (i, j), others), set()).add(number)
    chosen: dict[tuple[str, ...], tuple[int, int]] = {}
    for (names, where, _), numbers in sorted(values.items(), key=lambda item: (-len(item[1]), item[0][1])):
        if only or len(numbers) >= LEAST:
            chosen.setdefault(names, where)
    return chosen


def without(stages: Stages, i: int, j: int) -> tuple[Stages, str, str]:
    """The stages without setting j of stage i, and that setting's key and text."""
    name, settings = stages[i]
    key, text = settings[j]
    rest = (name, settings[:j] + settings[j + 1 :])
    return (*stages[:i], rest, *stages[i + 1 :]), key, text


def names_of(curves: Iterable[Stages]) -> dict[Stages, str]:
    """A name of each: its methods, and the settings in which curves of the same methods differ."""
    named = {}
    for _, group in groupby(sorted(curves, key=lambda one: (methods(one), one)), key=methods):
        same = list(group)
        for stages in same:
            parts = []
            for i, (method, settings) in enumerate(stages):
                differ = [pair for pair in settings if any(pair not in other[i][1] for other in same)]
                parts.append(":".join([method, *(f"{key}={text}" for key, text in differ)]))
            named[stages] = "+".join(parts)
    return named


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
