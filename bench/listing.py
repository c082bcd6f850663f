"""`--list`: what can be named on the command line, read from the tables themselves."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterable

from rich.table import Table

from bench.grammar import Methods
from methods.base import CompressionMethod, NetName, TeacherName


def methods_table(methods: Methods) -> Table:
    """A line a hyperparameter."""
    table = Table(title="methods (--methods)", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("method", "hyperparameter", "values", "default"):
        table.add_column(heading, overflow="fold")
    for name, kind in methods.items():
        hints = typing.get_type_hints(kind)
        table.add_row(f"[bold]{name}[/bold]", first_line(kind), end_section=False)
        for field in dataclasses.fields(kind):
            table.add_row("", field.name, values_of(hints[field.name]), str(field.default))
    for wrapper in dict.fromkeys(kind.wrapper for kind in methods.values() if kind.wrapper):
        hints = typing.get_type_hints(wrapper)
        table.add_row("[bold]any that trains[/bold]", first_line(wrapper))
        for field in dataclasses.fields(wrapper):
            if hints[field.name] is not CompressionMethod:
                table.add_row("", field.name, values_of(hints[field.name]), str(field.default))
    return table


def first_line(kind: type) -> str:
    """The first sentence of a class's docstring."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def values_of(hint: object) -> str:
    """What a hyperparameter of this type may be, in words."""
    if typing.get_origin(hint) is typing.Literal:
        return "/".join(str(value) for value in typing.get_args(hint))
    return {
        bool: "true/false",
        int: "whole number",
        float: "number",
        str: "text",
        NetName: "network",
        TeacherName: "dense, input, FILE.nnc or network",
    }.get(hint, str(hint))  # type: ignore[call-overload]


def names_table(title: str, names: Iterable[str], more: str = "") -> Table:
    """A line of names."""
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    table.add_column(overflow="fold")
    table.add_row(", ".join(names))
    if more:
        table.add_row(more)
    return table
