"""The grammar of `--methods`: text to chains of methods, and back to a canonical text.

LIST   = CHAIN ("," CHAIN)*            one row a chain
CHAIN  = STAGE ("+" STAGE)*            run in this order
STAGE  = NAME (":" KEY "=" VALUES)*
VALUES = VALUE ("/" VALUE)*            one row a value
VALUE  = text without , + : / or text in single or double quotes (methods/quoting.py)

A value that names networks may stand for several (a scan of students): one row each. A value may
itself be a LIST, as the members of an ensemble are, in which `dense` is a chain of no stage. KEYs are the
hyperparameters of the method, and of a wrapper, such as a teacher's settings, where the method has none of that name.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from baselines.errors import UsageError, nearest
from bench.chains import DENSE, Chain, Stage, impossible
from methods.base import ChainTexts, CompressionMethod, NetName, TeacherName, Wrapper
from methods.quoting import quoted, split, unquoted

Methods = Mapping[str, type[CompressionMethod]]


_A_SLIP = 0.7  # likeness from which on a key is another one with a slip in it, not part of a name
_OF_NAMES = (NetName, TeacherName, ChainTexts)  # kinds of values in which / and : are usual


@dataclass(frozen=True)
class Named:
    """A network that a setting names. content: hash of what it hangs on and the name does not tell, or empty."""

    text: str
    content: str = ""


Networks = Callable[[str, bool], tuple[Named, ...]]  # (as typed, whether trained) -> what it stands for


def _as_typed(text: str, trained: bool) -> tuple[Named, ...]:
    return (Named(text),)


def parse_chains(text: str, methods: Methods, layers: str = "all", networks: Networks = _as_typed) -> tuple[Chain, ...]:
    """The chains that `--methods text` asks for, in order, each once.

    layers: what methods with a field `layers` take where the text does not set it.
    networks: what a name of networks stands for; raises UsageError for one that there is not.

    Raises:
        UsageError: unknown names or keys, values of the wrong type or out of range, orders that cannot work.
    """
    return _parse(text, "--methods", _Names(methods, layers, networks))


@dataclass(frozen=True)
class _Names:
    """What the names in a text stand for."""

    methods: Methods
    layers: str
    networks: Networks


def _parse(text: str, where: str, names: _Names, dense: bool = False) -> tuple[Chain, ...]:
    """The chains of `text`; dense: whether a chain may be the dense network."""
    chains: dict[str, Chain] = {}
    for item in _split(text, ","):
        if not item.strip():
            raise UsageError(f"{where} {text!r} has an empty entry: write chains as dct,prune:sparsity=0.9+qat")
        if dense and item.strip() == DENSE:
            chains.setdefault(DENSE, Chain(()))
            continue
        for combination in itertools.product(*(_expand(stage.strip(), names) for stage in _split(item, "+"))):
            chain = Chain(tuple(combination))
            if why := impossible(chain):
                raise UsageError(f"the chain {chain.label} cannot work: {why}")
            chains.setdefault(chain.text, chain)
    return tuple(chains.values())


def _split(text: str, separator: str) -> list[str]:
    try:
        return split(text, separator)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _expand(text: str, names: _Names) -> list[Stage]:
    """All stages that one stage's text stands for."""
    methods, layers = names.methods, names.layers
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
            how = _quotes_needed(name, values, hints) or f": write {name}:{key or 'key'}=value"
            raise UsageError(f"{setting!r} in {text!r} is not key=value{how}")
        if key not in hints:
            offered = hints if kind.trains else own
            hint = nearest(key, offered) if offered else "it has none"
            slip = difflib.get_close_matches(key, offered, n=1, cutoff=_A_SLIP)
            apart = "" if slip else _quotes_needed(name, values, hints)
            raise UsageError(f"{name} has no hyperparameter {key!r}: {hint}{apart}")
        if key in values:
            raise UsageError(f"{key} is set twice in {text!r}: for one row each write {key}=a/b")
        parts = _split(typed, "/")
        if hints[key] in _OF_NAMES and not all(part.strip() for part in parts):
            raise UsageError(f"{typed!r} of {name}:{key} has an empty name{_quotes_needed(name, (key,), hints)}")
        try:
            values[key] = [value for part in parts
                           for value in _values(part.strip(), hints[key], f"{name}:{key}", names.networks)]  # fmt: skip
        except UsageError as error:
            apart = _quotes_needed(name, (key,), hints) if len(parts) > 1 else ""
            raise UsageError(f"{error}{apart}") from error
    defaults = {"layers": layers} if "layers" in own and "layers" not in values else {}
    stages = []
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        label = ":".join([name, *(f"{key}={one.shown}" for key, one in chosen.items())])
        inner = {**defaults, **{key: one.value for key, one in chosen.items() if key in own}}
        outer = {key: one.value for key, one in chosen.items() if key not in own}
        written = {key: inner.get(key, kind.__dataclass_fields__[key].default)
                   for key, hint in own.items() if hint is ChainTexts}  # fmt: skip
        chains = {key: _parse(text, f"{name}:{key}", names, dense=True) for key, text in written.items()}
        inner |= {key: ",".join(chain.text for chain in found) for key, found in chains.items()}
        try:
            method = kind(**inner)
            method = wrapper(method, **outer) if wrapper and outer else method
        except ValueError as error:
            raise UsageError(f"{label}: {error}") from error
        named = tuple(itertools.chain.from_iterable(chains.values()))
        contents = sorted(f"{key} {one.content}" for key, one in chosen.items() if one.content)
        contents += [content for chain in named for content in chain.contents]
        stages.append(Stage(name, method, label, tuple(contents), named))
    return stages


def _quotes_needed(name: str, keys: Iterable[str], hints: Mapping[str, Any]) -> str:
    """What to do where a name may have been taken apart: by a / into several, by a : into the next hyperparameter."""
    last = next((key for key in reversed(tuple(keys)) if hints[key] in _OF_NAMES), None)
    return f"; what {last}= takes goes in quotes where it holds / or :, as in {name}:{last}='...'" if last else ""


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
    plain = unquoted(part)
    if hint not in (NetName, TeacherName):
        return [_Value(part, convert(plain, hint, name))]
    try:
        found = networks(plain, hint is TeacherName)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    return [_Value(part if one.text == plain else quoted(one.text), one.text, one.content) for one in found]


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
