"""The grammar of `--methods`: text to chains of methods, and back to a canonical text.

LIST   = CHAIN ("," CHAIN)*            one row a chain
CHAIN  = STAGE ("+" STAGE)*            run in this order
STAGE  = NAME (":" KEY "=" VALUES)*
VALUES = VALUE ("/" VALUE)*            one row a value
VALUE  = text without , + : / or text in single or double quotes
"""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from baselines.errors import UsageError, nearest
from methods.base import CompressionMethod, Pipeline

Methods = Mapping[str, type[CompressionMethod]]


@dataclass(frozen=True)
class Stage:
    """One method of a chain, ready to run."""

    name: str
    method: CompressionMethod
    label: str  # as typed: the name and what was set

    @property
    def text(self) -> str:
        """Canonical: every hyperparameter, in the order of the fields, defaults included."""
        fields = dataclasses.fields(self.method)
        return ":".join([self.name, *(f"{field.name}={getattr(self.method, field.name)}" for field in fields)])


@dataclass(frozen=True)
class Chain:
    """Methods in sequence: one row of the table."""

    stages: tuple[Stage, ...]

    @property
    def text(self) -> str:
        return "+".join(stage.text for stage in self.stages)

    @property
    def label(self) -> str:
        return "+".join(stage.label for stage in self.stages)


def parse_chains(text: str, methods: Methods, layers: str = "all") -> tuple[Chain, ...]:
    """The chains that `--methods text` asks for, in order, each once.

    layers: what methods with a field `layers` take where the text does not set it.

    Raises:
        UsageError: unknown names or keys, values of the wrong type or out of range, orders that cannot work.
    """
    chains: dict[str, Chain] = {}
    for item in _split(text, ","):
        if not item.strip():
            raise UsageError(f"--methods {text!r} has an empty entry: write chains as dct,prune:sparsity=0.9+qat")
        stages = [_expand(stage.strip(), methods, layers) for stage in _split(item, "+")]
        for combination in itertools.product(*stages):
            chain = Chain(tuple(combination))
            try:
                Pipeline(tuple(stage.method for stage in combination))
            except ValueError as error:
                raise UsageError(f"the chain {chain.label} cannot work: {_order_error(chain) or error}") from error
            chains.setdefault(chain.text, chain)
    return tuple(chains.values())


def _order_error(chain: Chain) -> str | None:
    for index, stage in enumerate(chain.stages):
        for earlier in chain.stages[:index]:
            if why := stage.method.cannot_follow(earlier.method):
                return f"{stage.name} cannot come after {earlier.name}, {why}; change their order or leave one out"
    return None


def _split(text: str, separator: str) -> list[str]:
    """Splits at `separator` outside quotes."""
    parts, quote, start = [], "", 0
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == separator:
            parts.append(text[start:index])
            start = index + 1
    if quote:
        raise UsageError(f"{text!r} has an opening {quote} without its closing one")
    return [*parts, text[start:]]


def _expand(text: str, methods: Methods, layers: str) -> list[Stage]:
    """All stages that one stage's text stands for."""
    name, *settings = _split(text, ":")
    if name not in methods:
        shown = f"unknown method {name!r}" if name else f"a chain has an empty stage in {text!r}"
        raise UsageError(f"{shown}: {nearest(name, methods)} (--list shows them all)")
    kind = methods[name]
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    values: dict[str, list[tuple[str, Any]]] = {}
    for setting in settings:
        key, equals, typed = setting.partition("=")
        if not equals:
            raise UsageError(f"{setting!r} in {text!r} is not key=value: write {name}:{key or 'key'}=value")
        if key not in known:
            hint = nearest(key, known) if known else "it has none"
            raise UsageError(f"{name} has no hyperparameter {key!r}: {hint}")
        if key in values:
            raise UsageError(f"{key} is set twice in {text!r}: for one row each write {key}=a/b")
        parts = [part.strip() for part in _split(typed, "/")]
        values[key] = [(part, convert(_unquote(part), hints[key], f"{name}:{key}")) for part in parts]
    defaults = {"layers": layers} if "layers" in known and "layers" not in values else {}
    stages = []
    for combination in itertools.product(*values.values()):
        arguments = dict(zip(values, (value for _, value in combination), strict=True))
        label = ":".join([name, *(f"{key}={part}" for key, (part, _) in zip(values, combination, strict=True))])
        try:
            stages.append(Stage(name, kind(**{**defaults, **arguments}), label))
        except ValueError as error:
            raise UsageError(f"{label}: {error}") from error
    return stages


def _unquote(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"" else text


def convert(text: str, hint: Any, name: str) -> Any:
    """`text` as a value of type `hint`: bool, int, float, str, a Literal, or one of these or None ("none").

    Raises:
        UsageError: the text is not such a value.
    """
    if typing.get_origin(hint) is types.UnionType:
        if text.lower() == "none":
            return None
        hint = next(one for one in typing.get_args(hint) if one is not type(None))
    if typing.get_origin(hint) is Literal:
        choices = {str(choice): choice for choice in typing.get_args(hint)}
        if text not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, got {text!r}")
        return choices[text]
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{name} must be true or false, got {text!r}")
        return text.lower() == "true"
    if hint in (int, float):
        try:
            value = hint(text)
        except ValueError:
            kind = "a whole number" if hint is int else "a number"
            raise UsageError(f"{name} must be {kind}, got {text!r}") from None
        if value != value or value in (float("inf"), float("-inf")):
            raise UsageError(f"{name} must be a finite number, got {text!r}")
        return value
    return text
