"""Docstrings as pages show them: lines `name: what it is`, and those of a card (`Idea   ...`), become lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.generator.lists import listed


class Entries(griffe.Extension):
    """Lines that explain parameters or fields, which the house style writes without a heading, are made a list."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites the docstring of `obj`."""
        if obj.docstring:
            obj.docstring.value = listed(obj.docstring.value, _known(obj))


def _known(obj: griffe.Object) -> set[str]:
    names = set(obj.members) if obj.is_class else set()
    if obj.is_function:
        names |= {parameter.name.lstrip("*") for parameter in obj.parameters}  # type: ignore[attr-defined]
    return names
