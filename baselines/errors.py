"""Errors that a person can cause and mend. Standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """What the person typed cannot be done. The message is one line that says what was wrong, the value seen and what
    to type instead; the command prints it without a traceback and ends with exit code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the known name closest to `name`, or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not close:
        return f"known: {', '.join(known)}"
    best = difflib.SequenceMatcher(None, name, close[0]).ratio()
    as_close = [one for one in close if difflib.SequenceMatcher(None, name, one).ratio() == best]
    swapped = (one for one in as_close if sorted(one) == sorted(name))  # letters out of order are the likelier slip
    return f"did you mean {next(swapped, close[0])!r}?"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
