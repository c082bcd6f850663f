"""Methods as a `--config` file may write them: lists and mappings, put into the text of `--methods`.

methods:
  - ptq                                                  # text as on the command line
  - distill: {student: student1, alpha: [0.5, 0.9]}      # one method; a list of values makes a row each
  - [distill: {student: student4}, prune, qat]           # a chain
"""

from __future__ import annotations

from typing import Any

from baselines.errors import UsageError


def methods_text(written: Any) -> str:
    """What `--methods` would say.

    Raises:
        UsageError: something that is no method, named by its place.
    """
    if isinstance(written, str):
        return written
    if isinstance(written, dict):
        written = [written]
    if not isinstance(written, list) or not written:
        raise UsageError(
            f"methods must be text or a list of methods, got {written!r}: write - {{prune: {{}}}} or - prune"
        )
    return ",".join(_chain(item, f"entry {index} of methods") for index, item in enumerate(written, start=1))


def _chain(item: Any, place: str) -> str:
    if not isinstance(item, list):
        return _stage(item, place)
    if not item:
        raise UsageError(f"{place} is an empty chain: name its methods, or leave it out")
    return "+".join(_stage(one, f"stage {index} of {place}") for index, one in enumerate(item, start=1))


def _stage(item: Any, place: str) -> str:
    if isinstance(item, str) and item.strip():
        return item
    if not isinstance(item, dict) or len(item) != 1:
        raise UsageError(f"{place} must be a text, one NAME: {{KEY: VALUE}} or a list of these, got {item!r}")
    ((name, settings),) = item.items()
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        raise UsageError(f"{place}: {name} must hold KEY: VALUE pairs, got {settings!r}")
    return ":".join([str(name), *(f"{key}={_values(value, f'{place}: {key}')}" for key, value in settings.items())])


def _values(value: Any, place: str) -> str:
    """A value, or each of a list of values, as the command line writes it."""
    if isinstance(value, list):
        if not value:
            raise UsageError(f"{place} has no values: give one, or leave it out")
        return "/".join(_value(one, place) for one in value)
    return _value(value, place)


def _value(value: Any, place: str) -> str:
    from methods.quoting import quoted  # torch comes with it, which a command line without mappings need not wait for

    if isinstance(value, bool | None):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise UsageError(f"{place} must be a text, a number, true, false or null, or a list of these, got {value!r}")
    return quoted(str(value))
