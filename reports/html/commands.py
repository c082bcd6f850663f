"""The command that makes one row, from the command that made its run: text only, nothing is run or read."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

from bench.records import RunRecord
from reports.rows import DENSE

PROGRAM = "run_bench.py"
NET, DATASET = "resnet18", "digits"  # of a command that names none
# what chooses rows, or says where they go: one row is chosen already, and has a folder of its own
WITH_A_VALUE = ("methods", "at", "search", "trials", "search-minutes", "out", "mlflow")
ALONE = ("orders", "no-controls", "tensorboard")


def typed_commands(text: str) -> list[list[str]]:
    """The words of each command that a run's folder names: one, or of several runs one a line. What is no command of
    this program, or cannot be split into words, is left out."""
    whole = _words(text)
    if sum(PurePosixPath(word).name == PROGRAM for word in whole) == 1:
        return [whole]
    lines = [_words(line) for line in text.splitlines()]
    return [words for words in lines if any(PurePosixPath(word).name == PROGRAM for word in words)]


def row_command(one: RunRecord, commands: Iterable[list[str]]) -> str:
    """The command that makes the row of `one` with its dense network, to be pasted into a shell; empty where none of
    `commands` is known. Of several the one that fits the row's network, data, label and recipe best is taken.

    The dense network is part of every command, so that its row's is the run's own.
    """
    best = max(commands, key=lambda words: _fit(one, words), default=None)
    if best is None:
        return ""
    if one.chain == DENSE:
        return shlex.join(best)
    start = next(i for i, word in enumerate(best) if PurePosixPath(word).name == PROGRAM) + 1
    return shlex.join([*best[:start], "--methods", one.label, *_without_choice(best[start:]), "--no-controls"])


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # quotes that do not close
        return []


def _without_choice(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        name = word.removeprefix("--").partition("=")[0] if word.startswith("--") else ""
        if skip:
            skip = False
        elif name in WITH_A_VALUE:
            skip = "=" not in word
        elif name not in ALONE:
            kept.append(word)
    return kept


def _fit(one: RunRecord, words: list[str]) -> tuple[int, ...]:
    """What of a row a command names: its network, its data, its settings of training, its seed, the row itself."""
    net, data = _value(words, "net") or NET, _value(words, "dataset") or DATASET
    folder = PurePosixPath(_value(words, "data-dir")).name
    same_data = one.dataset in (data, data.replace("folder", folder, 1)) or one.dataset.partition(":")[0] == data
    settings = [(name, _value(words, name.replace("_", "-"))) for name in one.recipe]
    agree = sum(1 if text == str(one.recipe[name]) else -1 for name, text in settings if text)
    seeds = (_value(words, "seeds") or "0").split(",")
    return one.net == net, same_data, agree, str(one.seed) in seeds, one.label in _value(words, "methods")


def _value(words: list[str], name: str) -> str:
    for index, word in enumerate(words):
        if word == f"--{name}":
            return words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return ""
