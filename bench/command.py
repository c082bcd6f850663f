"""The command line: what it asks for, in one `Command`. No torch here."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from baselines.errors import UsageError, nearest
from bench.actions import ACTIONS, ONLY_WITH
from bench.config import read_config
from bench.options import Options, flag_of
from bench.questions import Question, parse_question


@dataclass(frozen=True)
class Command:
    """One call of the command: what to do, and with which options."""

    options: Options
    action: str  # "run", or one of ACTIONS
    targets: tuple[Path, ...] = ()  # the folders of runs, or the artifact
    typed: str = ""  # the command as typed, to be shown in the report
    question: Question | None = None  # of --advise


_LONGEST_NAME = 100  # of a folder that is named after several


_TOGETHER = {  # how several values of an option are written
    "--methods": "write --methods dct,prune",
    "--at": "write --at size=8x,drop=1",
    "--search": 'write --search "size<=200KB,drop<=1"',
    "--seeds": "write --seeds 0,1,2",
    "--runtimes": "write --runtimes eager,onnxruntime",
    "--report": "name all runs after one --report",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message and unknown.startswith("--"):
            flag = unknown.split()[0].split("=")[0]
            message = (
                f"unknown option {flag}: {nearest(flag, [flag_of(name) for name in (*_names_of_options(), *ACTIONS)])}"
            )
        if (found := re.match(r"argument --(\w+): expected", message)) and found[1] in ACTIONS:
            message += f", as in {ACTIONS[found[1]].example}"
        raise UsageError(message)


def _names_of_options() -> list[str]:
    return [option.name for option in dataclasses.fields(Options)]


def parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    made = _Parser(
        prog="run_bench.py",
        description="Compress a network in several ways; every row of the table is one file, measured from that file.",
        epilog="exit code: 0 all rows asked for ran (--advise: a row keeps the limits; --compare: nothing fails it), "
        "1 not so,\n2 the command cannot be carried out",
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,
    )
    for option in dataclasses.fields(Options):
        about = option.metadata
        shown = "" if option.default in (None, False, ()) else f" (default: {_shown(option.default)})"
        text = f"{about['help']}{shown}\n  e.g. {about['example']}".replace("%", "%%")
        if about["parse"] is bool:
            made.add_argument(flag_of(option.name), action="store_const", const="true", help=text)
        elif about["bare"]:
            made.add_argument(
                flag_of(option.name), nargs="?", const=about["bare"], metavar=option.name.upper(), help=text
            )
        else:
            made.add_argument(flag_of(option.name), metavar=option.name.upper(), help=text)
    made.add_argument(
        "--config",
        type=Path,
        metavar="FILE.yaml",
        help="options from a file; the command line wins\n  e.g. --config docs/examples/sweep.yaml",
    )
    group = made.add_mutually_exclusive_group()
    for name, action in ACTIONS.items():
        text = f"{action.help}\n  e.g. {action.example}".replace("%", "%%")
        if action.metavar:
            group.add_argument(flag_of(name), nargs=action.nargs, metavar=action.metavar, help=text)
        else:
            group.add_argument(flag_of(name), action="store_true", help=text)
    return made


def _shown(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def parse_command(arguments: Sequence[str]) -> Command:
    """The command that `arguments` (without the program's name) ask for.

    Raises:
        UsageError: an option or value that cannot be; the message is one line.
    """
    _check_once(arguments)
    typed = parser().parse_args(arguments)
    action = next((name for name in ACTIONS if getattr(typed, name)), "run")
    values: dict[str, Any] = read_config(typed.config, _names_of_options()) if typed.config else {}
    values |= {name: value for name in _names_of_options() if (value := getattr(typed, name)) is not None}
    for name, (other, needed) in ONLY_WITH.items():
        if name in values and action != other:
            raise UsageError(f"{flag_of(name)} {values[name]} needs {needed}")
    taken = tuple(values) if action == "run" or ACTIONS[action].options is None else ACTIONS[action].options or ()
    if idle := [name for name in values if name not in taken]:
        only = f"it takes {', '.join(map(flag_of, taken))}" if taken else "it takes no other option"
        raise UsageError(f"--{action} does not go with {flag_of(idle[0])}: {only}")
    known = {option.name: option for option in dataclasses.fields(Options)}
    options = Options(**{name: _parsed(known[name], value) for name, value in values.items()})
    given = list(getattr(typed, action)) if action in ACTIONS and ACTIONS[action].metavar else []
    question = parse_question(given.pop(0)) if action == "advise" else None
    targets = tuple(Path(one) for one in given)
    if action == "report" and len(targets) > 1 and not options.out:
        options = dataclasses.replace(options, out=_together(targets))
    return Command(options, action, targets, shlex.join(["python", "run_bench.py", *arguments]), question)


def _check_once(arguments: Sequence[str]) -> None:
    """Raises `UsageError` where an option of several values is given twice: the first ones would be dropped without a
    word. Of the others the last one holds, as is usual."""
    flags = [text.partition("=")[0] for text in arguments]
    for flag, how in _TOGETHER.items():
        if flags.count(flag) > 1:
            raise UsageError(f"{flag} is given twice: {how}")


def _together(runs: Sequence[Path]) -> Path:
    """Where the report of several runs goes: beside the first of them, under all their names."""
    names = "+".join(run.resolve().name for run in runs)
    return runs[0].parent / (names if len(names) <= _LONGEST_NAME else f"{names[:_LONGEST_NAME]}-{len(runs)}-runs")


def _parsed(option: dataclasses.Field[Any], value: Any) -> Any:
    about = option.metadata
    flag = flag_of(option.name)
    if about["parse"] is bool:
        if str(value).lower() not in ("true", "false"):
            raise UsageError(f"{flag} must be true or false, got {value!r}")
        return str(value).lower() == "true"
    try:
        parsed = about["parse"](value if isinstance(value, str) else str(value))
    except UsageError:  # says it better
        raise
    except ValueError as error:
        raise UsageError(f"{flag} cannot be {value!r}: write it as in {about['example']}") from error
    if about["choices"] and parsed not in about["choices"]:
        raise UsageError(f"{flag} must be one of {', '.join(about['choices'])}, got {parsed!r}")
    return parsed.expanduser() if isinstance(parsed, Path) else parsed
