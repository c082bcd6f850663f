"""Texts that hold texts: how a chain's setting holds chains, paths, or whatever else has separators in it.

A value that holds a separator or a quote stands in single or double quotes; inside them the same quote is doubled, as
in SQL, so that texts nest to any depth: `ensemble:of='prune:sparsity=0.5,ptq'`.
"""

from __future__ import annotations

_SEPARATORS = frozenset(",+:/")
_QUOTES = "'\""


def split(text: str, separator: str) -> list[str]:
    """The parts of `text` between separators that stand outside quotes; quotes are left as they are.

    Raises:
        ValueError: a quote is opened and not closed.
    """
    parts, quote, start = [], "", 0
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote  # a doubled one closes and opens again
        elif letter in _QUOTES:
            quote = letter
        elif letter == separator:
            parts.append(text[start:index])
            start = index + 1
    if quote:
        raise ValueError(f"{text!r} has an opening {quote} without its closing one")
    return [*parts, text[start:]]


def quoted(text: str) -> str:
    """`text` as a value of a setting: as it is where nothing in it could be mistaken, else in quotes."""
    if not _SEPARATORS & set(text) and not set(_QUOTES) & set(text) and text == text.strip():
        return text
    quote = next((one for one in _QUOTES if one not in text), _QUOTES[0])
    return quote + text.replace(quote, 2 * quote) + quote


def unquoted(text: str) -> str:
    """The value that `text` stands for."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in _QUOTES:
        return text
    return text[1:-1].replace(2 * text[0], text[0])
