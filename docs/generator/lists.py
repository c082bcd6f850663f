"""Lists of docstrings and pages, brought to the form that the site's Markdown reads. Standard library only."""

from __future__ import annotations

import re

from docs.generator.links import prose

_ITEM = re.compile(r"^( *)([-*+]|\d+\.) ")
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.+)$")
_CARD = re.compile(r"^([A-Z][a-z]+) {2,}(\S.*)$")


def commonmark(text: str) -> str:
    """The page with its lists as Python-Markdown wants them: a blank line before, items inside of items by four."""
    lines = text.splitlines()
    plain = {number for number, _ in prose(text)}
    shown: list[str] = []
    inside = False
    for number, line in enumerate(lines, start=1):
        item = _ITEM.match(line) if number in plain else None
        if item and not inside and shown and shown[-1].strip():
            shown.append("")
        if item and item[1]:
            line = item[1] + line  # twice as far
        shown.append(line)
        inside = bool(item) or (inside and (line.startswith(" ") or not line.strip()))
    return "\n".join(shown) + "\n"


def listed(text: str, known: set[str]) -> str:
    """`text` with each line `name: ...`, its names all `known`, and `Word   ...` as a list; indented lines go on."""
    shown: list[str] = []
    inside = False
    for line in text.splitlines():
        if item := _item(line, known):
            if not inside and shown and shown[-1]:
                shown.append("")
            shown.append(item)
            inside = True
        else:
            inside = inside and line.startswith(" ")
            shown.append(f"  {line.strip()}" if inside else line)
    return "\n".join(shown)


def _item(line: str, known: set[str]) -> str:
    if (entry := _ENTRY.match(line)) and set(entry[1].split(", ")) <= known:
        return f"- {', '.join(f'`{name}`' for name in entry[1].split(', '))}: {entry[2]}"
    card = _CARD.match(line)
    return f"- **{card[1]}**: {card[2]}" if card else ""
