"""Short names of rows: a label without what all labels of a figure with that method share.

Nothing is cut in the middle, where what tells rows apart may stand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from reports.cells import one_line

_METHOD = re.compile(r"(?P<name>(?:(?<=[+,'\"])|^)[A-Za-z_]\w*)(?P<settings>(?::\w+=[^:+,'\"]*)+)")


def short_names(labels: Iterable[str]) -> dict[str, str]:
    """Each label without the settings that every mention of their method in `labels` has, inside quotes too.

    Labels that are different stay so: where two would become alike, none is shortened.
    """
    different = [one_line(label) for label in dict.fromkeys(labels)]
    shared: dict[str, set[str]] = {}
    mentions: dict[str, set[tuple[str, ...]]] = {}
    for label in different:
        for name, settings in _mentions(label):
            shared[name] = shared[name] & {*settings} if name in shared else {*settings}
            mentions.setdefault(name, set()).add(tuple(settings))
    drop = {name: settings for name, settings in shared.items() if len(mentions[name]) > 1}
    found = {label: _METHOD.sub(lambda match: _without(match, drop), label) for label in different}
    return found if len(set(found.values())) == len(found) else {label: label for label in different}


def cut(text: str, limit: int) -> str:
    """At most `limit` characters: the end gives way to an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _mentions(label: str) -> Sequence[tuple[str, list[str]]]:
    bare = re.findall(r"(?:(?<=[+,'\"])|^)([A-Za-z_]\w*)(?![\w:=])", label)  # a method without settings shares none
    full = [(match["name"], match["settings"][1:].split(":")) for match in _METHOD.finditer(label)]
    return [*full, *((name, []) for name in bare)]


def _without(match: re.Match[str], drop: dict[str, set[str]]) -> str:
    kept = [one for one in match["settings"][1:].split(":") if one not in drop.get(match["name"], set())]
    return ":".join([match["name"], *kept])


def told_apart(names: Iterable[str]) -> dict[str, str]:
    """Each name of one method with settings (`prune:score=obd:rates=global`) without those that most names have.

    Names that are different stay so: where two would become alike, or are of several stages, none is shortened.
    """
    different = list(dict.fromkeys(names))
    counts = Counter(one for name in different for one in set(name.split(":")[1:]))
    usual = {one for one, count in counts.items() if 2 * count > len(different)}
    found = {name: ":".join(part for part in name.split(":") if part not in usual) for name in different}
    plain = not any(mark in name for name in different for mark in "+'\"")
    return found if plain and len(set(found.values())) == len(found) else {name: name for name in different}
