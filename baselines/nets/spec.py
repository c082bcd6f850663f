"""The grammar of `--net` and `--dataset`: a name and options, `name:key=value:key=value`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from baselines.errors import UsageError, nearest


@dataclass(frozen=True)
class NetSpec:
    """What `--net` says: a name; for a person's own file also the function in it; options as typed."""

    name: str
    function: str = ""
    options: dict[str, str] = field(default_factory=dict)


def parse_options(words: Iterable[str], of: str) -> dict[str, str]:
    """`key=value` words as a dict.

    Raises:
        UsageError: a word without `=`, or a key given twice.
    """
    options: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{of}: {word!r} is not an option: write {of.partition(':')[0]}:key=value")
        if key in options:
            raise UsageError(f"{of}: option {key!r} is given twice: keep one of them")
        options[key] = value
    return options


def parse_net(text: str) -> NetSpec:
    """`resnet18`, `alexnet:width=1024`, `timm:NAME` or `path/to/file.py:factory`, options last.

    Raises:
        UsageError: the text is none of these.
    """
    if text.endswith(".py"):
        raise UsageError(f"{text} names a file, not a network: write {text}:FUNCTION, a function that returns it")
    path, mark, rest = text.partition(".py:")
    if mark:
        function, *words = rest.split(":")
        return NetSpec(f"{path}.py", function, parse_options(words, text))
    name, *words = text.split(":")
    if name == "timm" and words:
        return NetSpec(f"timm:{words[0]}", options=parse_options(words[1:], text))
    return NetSpec(name, options=parse_options(words, text))


def typed_options(options: dict[str, str], types: dict[str, type], of: str) -> dict[str, Any]:
    """Options converted to the types of the table.

    Raises:
        UsageError: an option that is not in the table, or a value that does not convert.
    """
    typed: dict[str, Any] = {}
    for key, value in options.items():
        if key not in types:
            raise UsageError(f"{of} has no option {key!r}: {nearest(key, types) if types else 'it takes none'}")
        try:
            typed[key] = types[key](value)
        except ValueError:
            raise UsageError(f"{of}: {key}={value} is not {types[key].__name__}: give a number") from None
    return typed
