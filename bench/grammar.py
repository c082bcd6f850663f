"""The grammar of `--methods`: text to chains of methods, and back to a canonical text.

LIST   = CHAIN ("," CHAIN)*            one row a chain
CHAIN  = STAGE ("+" STAGE)*            run in this order
STAGE  = NAME (":" KEY "=" VALUES)*
VALUES = VALUE ("/" VALUE)*            one row a value
VALUE  = text without , + : / or text in single or double quotes

A value that names networks may stand for several (a scan of students): one row each. KEYs are the hyperparameters of
the method, and of a wrapper, such as a teacher's settings, where the method has none of that name.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from baselines.errors import UsageError, nearest
from methods.base import CompressionMethod, NetName, Pipeline, TeacherName, Wrapper, standing

Methods = Mapping[str, type[CompressionMethod]]


@dataclass(frozen=True)
class Named:
    """A network that a setting names. content: hash of what it hangs on and the name does not tell, or empty."""

    text: str
    content: str = ""


Networks = Callable[[str, bool], tuple[Named, ...]]  # (as typed, whether trained) -> what it stands for


def _as_typed(text: str, trained: bool) -> tuple[Named, ...]:
    return (Named(text),)


@dataclass(frozen=True)
class Stage:
    """One method of a chain, ready to run."""

    name: str
    method: CompressionMethod
    label: str  # as typed: the name and what was set
    contents: tuple[str, ...] = ()  # hashes of what its settings name and their text does not tell

    @property
    def text(self) -> str:
        """Canonical: every hyperparameter, in the order of the fields, defaults included, and of a wrapper."""
        return ":".join([self.name, *(f"{key}={quoted(str(value))}" for key, value in _settings(self.method))])

    @property
    def typed(self) -> frozenset[str]:
        """The fields that were set."""
        return frozenset(part.partition("=")[0] for part in _split(self.label, ":")[1:])


def _settings(method: CompressionMethod) -> Iterator[tuple[str, Any]]:
    if isinstance(method, Wrapper):
        yield from _settings(method.method)
    for field in dataclasses.fields(method):
        if not isinstance(value := getattr(method, field.name), CompressionMethod):
            yield field.name, value


def quoted(text: str) -> str:
    """`text` as a VALUE that stands for it alone."""
    if not any(letter in text for letter in ",+:/"):
        return text
    return f'"{text}"' if "'" in text else f"'{text}'"


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


def parse_chains(text: str, methods: Methods, layers: str = "all", networks: Networks = _as_typed) -> tuple[Chain, ...]:
    """The chains that `--methods text` asks for, in order, each once.

    layers: what methods with a field `layers` take where the text does not set it.
    networks: what a name of networks stands for; raises UsageError for one that there is not.

    Raises:
        UsageError: unknown names or keys, values of the wrong type or out of range, orders that cannot work.
    """
    chains: dict[str, Chain] = {}
    for item in _split(text, ","):
        if not item.strip():
            raise UsageError(f"--methods {text!r} has an empty entry: write chains as dct,prune:sparsity=0.9+qat")
        stages = [_expand(stage.strip(), methods, layers, networks) for stage in _split(item, "+")]
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
        names = {id(earlier.method): earlier.name for earlier in chain.stages[:index]}
        for earlier in standing([one.method for one in chain.stages[:index]]):
            if why := stage.method.cannot_follow(earlier):
                return (
                    f"{stage.name} cannot come after {names[id(earlier)]}, {why}; change their order or leave one out"
                )
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


def _expand(text: str, methods: Methods, layers: str, networks: Networks) -> list[Stage]:
    """All stages that one stage's text stands for."""
    name, *settings = _split(text, ":")
    if name not in methods:
        shown = f"unknown method {name!r}" if name else f"a chain has an empty stage in {text!r}"
        raise UsageError(f"{shown}: {nearest(name, methods)} (--list shows them all)")
    kind = methods[name]
    wrapper = _wrapper(kind, methods)
    own, around = _hyperparameters(kind), _hyperparameters(wrapper) if wrapper else {}
    hints = {**around, **own}
    values: dict[str, list[_Value]] = {}
    for setting in settings:
        key, equals, typed = setting.partition("=")
        if not equals:
            raise UsageError(f"{setting!r} in {text!r} is not key=value: write {name}:{key or 'key'}=value")
        if key not in hints:
            hint = nearest(key, hints) if hints else "it has none"
            raise UsageError(f"{name} has no hyperparameter {key!r}: {hint}")
        if key in values:
            raise UsageError(f"{key} is set twice in {text!r}: for one row each write {key}=a/b")
        values[key] = [value for part in _split(typed, "/")
                       for value in _values(part.strip(), hints[key], f"{name}:{key}", networks)]  # fmt: skip
    defaults = {"layers": layers} if "layers" in own and "layers" not in values else {}
    stages = []
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        label = ":".join([name, *(f"{key}={one.shown}" for key, one in chosen.items())])
        inner = {**defaults, **{key: one.value for key, one in chosen.items() if key in own}}
        outer = {key: one.value for key, one in chosen.items() if key not in own}
        try:
            method = kind(**inner)
            method = wrapper(method, **outer) if wrapper and outer else method
        except ValueError as error:
            raise UsageError(f"{label}: {error}") from error
        contents = sorted(f"{key} {one.content}" for key, one in chosen.items() if one.content)
        stages.append(Stage(name, method, label, tuple(contents)))
    return stages


def _wrapper(kind: type[CompressionMethod], methods: Methods) -> type[Wrapper] | None:
    """What the settings of another method of the table can put around this one."""
    found = (other.wrapper for other in methods.values() if other.wrapper and kind.wrapper is not other.wrapper)
    return next(found, None)


def _hyperparameters(kind: type[CompressionMethod]) -> dict[str, Any]:
    """Types of the fields that the command line may set, by name."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)
            if hints[field.name] is not CompressionMethod}  # fmt: skip


@dataclass(frozen=True)
class _Value:
    """A value of a setting: as it shows in a label, as it is, and what it hangs on besides."""

    shown: str
    value: Any
    content: str = ""


def _values(part: str, hint: Any, name: str, networks: Networks) -> list[_Value]:
    """What one VALUE stands for."""
    plain = _unquote(part)
    if hint not in (NetName, TeacherName):
        return [_Value(part, convert(plain, hint, name))]
    try:
        found = networks(plain, hint is TeacherName)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    return [_Value(part if one.text == plain else quoted(one.text), one.text, one.content) for one in found]


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
