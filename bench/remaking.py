"""The command that makes one row's file again, from the command that made its run. No torch here."""

from __future__ import annotations

import dataclasses
import shlex

from baselines.errors import UsageError
from bench.command import parse_command
from bench.options import Options

_NOT_OF_A_ROW = ("methods", "at", "search", "trials", "search_minutes", "out", "ray", "needs", "mlflow", "tensorboard")
_DENSE, _CHEAPEST = "dense", "half"


def command_of(options: Options, chain: str) -> str:
    """The command that makes the row of `chain` alone, to be pasted into a shell."""
    words = ["python", "run_bench.py", "--methods", chain]
    for option in dataclasses.fields(Options):
        value = getattr(options, option.name)
        if option.name in _NOT_OF_A_ROW or value == option.default:
            continue
        words.append("--" + option.name.replace("_", "-"))
        if value is not True:
            words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return shlex.join(words)


def remade(typed: str, chain: str, seed: int) -> str:
    """The command that makes the file of `chain` of one seed, where `typed` made the run that it is a row of.

    The dense file comes with every run: the command is that of the row that costs least beside it. Empty where `typed`
    is not understood any more.
    """
    try:
        options = parse_command(shlex.split(typed)[2:]).options
    except (UsageError, ValueError):  # of another version, or its --config file is gone
        return ""
    options = dataclasses.replace(options, seeds=(seed,), no_controls=True, orders=False)
    return command_of(options, _CHEAPEST if chain == _DENSE else chain)


def searching(typed: str, goals: str) -> str:
    """The command that searches for `goals` on the network and data of the run that `typed` made; empty as above."""
    try:
        options = parse_command(shlex.split(typed)[2:]).options
    except (UsageError, ValueError):
        return ""
    words = shlex.split(command_of(dataclasses.replace(options, orders=False), ""))
    return shlex.join([*words[:2], *words[4:], "--search", goals])
