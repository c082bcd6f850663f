"""The command's options: one table for the command line and for `--config` files. No torch here."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from baselines.errors import UsageError, nearest
from bench.actions import ACTIONS, ONLY_WITH
from bench.bounds import Bound, parse_bounds
from bench.config import read_config
from bench.goals import Goal, Target, parse_goal, parse_targets
from bench.questions import Question, parse_question

DATA_DIR = Path(".data")  # where data sets are looked for unless the command says

_MOST_SEEDS = 2**31  # what every generator of random numbers in use takes


def _whole(text: str) -> int:
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(int(part) for part in str(text).split(","))
    if len(set(seeds)) < len(seeds) or not 0 <= min(seeds) <= max(seeds) < _MOST_SEEDS:
        raise ValueError(f"seeds must differ, not be negative and be below {_MOST_SEEDS}")
    return seeds


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in str(text).split(",") if part.strip()))


def _option(default: Any, help: str, example: str, parse: Any = str, choices: tuple[str, ...] = ()) -> Any:
    metadata = {"help": help, "example": example, "parse": parse, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """What a person asked for. Each field is an option of the same name, with dashes."""

    methods: str = _option(
        "dct,qat,prune",
        "chains of methods, a row each: NAME[:KEY=VALUE]..., joined by + to run in order; values a/b/c make rows",
        '--methods "dct:keep=0.25:layers=linear,prune:sparsity=0.5/0.8/0.9,prune:sparsity=0.8+qat"',
    )
    net: str = _option(
        "resnet18",
        "a network of --list, any torchvision classifier, timm:NAME, or path/to/file.py:factory",
        "--net alexnet:width=1024",
    )
    dataset: str = _option("digits", "a data set of --list; `folder` is a folder of class folders", "--dataset mnist")
    data_dir: Path | None = _option(None, "where data sets are looked for (default: .data)", "--data-dir ~/data", Path)
    download: bool = _option(False, "fetch a data set that is missing", "--download", bool)
    orders: bool = _option(False, "try each chain's other orders too", "--orders", bool)
    no_controls: bool = _option(
        False, "leave out the rows that methods are compared with besides the dense network", "--no-controls", bool
    )
    layers: str = _option(
        "all",
        "which layers methods act on where the chain does not say",
        "--layers linear",
        str,
        ("all", "conv", "linear"),
    )
    epochs: int | None = _option(None, "epochs of dense training (default: the net's recipe)", "--epochs 12", _whole)
    finetune_epochs: int | None = _option(
        None, "epochs each method may train (default: the net's recipe)", "--finetune-epochs 4", _whole
    )
    batch_size: int | None = _option(None, "images a training step (default: the recipe)", "--batch-size 128", _whole)
    lr: float | None = _option(None, "peak learning rate of dense training (default: the recipe)", "--lr 0.1", float)
    finetune_lr: float | None = _option(
        None, "peak learning rate of fine-tuning (default: the recipe)", "--finetune-lr 0.05", float
    )
    precision: str = _option(
        "auto",
        "arithmetic of training; auto takes bf16 where it is the faster one",
        "--precision fp32",
        str,
        ("auto", "fp32", "bf16"),
    )
    seeds: tuple[int, ...] = _option((0,), "seeds, each with a dense network of its own", "--seeds 0,1,2", _seeds)
    deterministic: bool = _option(False, "refuse operations whose result may vary", "--deterministic", bool)
    device: str = _option("auto", "auto, cpu, cuda or cuda:N", "--device cuda:0")
    threads: int = _option(1, "CPU threads while latency and memory are measured", "--threads 2", _whole)
    runtimes: tuple[str, ...] = _option(
        ("eager", "onnxruntime"),
        "what runs the file: eager, onnxruntime, openvino, inductor, aoti, cudagraphs, fp16, bf16, int8_gemm",
        "--runtimes eager,inductor",
        _names,
    )
    weights: Path | None = _option(
        None, "a trained checkpoint (.pt or .safetensors state dict) to start from", "--weights my_resnet18.pt", Path
    )
    pretrained: bool = _option(False, "start from the library's trained weights", "--pretrained", bool)
    at: tuple[Target, ...] = _option(
        (),
        "compare chains at one point: finds, on validation data, the strength at which each is so many times smaller "
        "(size), faster (latency), or loses so many points (drop)",
        "--methods dct,prune,prune+ptq --at size=8x",
        parse_targets,
    )
    search: Goal | None = _option(
        None,
        "find a chain and its settings within limits of size, latency, drop, params, macs: the smallest file, or what "
        "is to be minimised; searches over all methods, or those of --methods",
        '--search "size<=200KB,drop<=1"',
        parse_goal,
    )
    trials: int = _option(60, "most chains that --search tries", "--trials 200", _whole)
    search_minutes: float | None = _option(
        None, "most minutes of trials of --search (default: all of --trials)", "--search-minutes 25", float
    )
    out: Path | None = _option(
        None,
        "folder of this run (default: runs/NET-DATASET-ID), or the file of --export or --compare",
        "--out runs/first",
        Path,
    )
    fail_if: tuple[Bound, ...] = _option(
        (),
        "changes from OLD to NEW that fail --compare: accuracy in points (`accuracy<-0.3 significantly`: beyond noise "
        "too); size,\n  params, macs, memory and latency_ms in % or their unit; latency (beside dense of its run) in %",
        '--compare runs/before runs/after --fail-if "accuracy<-0.3,size>+2%"',
        parse_bounds,
    )
    to: str | None = _option(None, "format of --export: onnx, openvino, pt2, aoti", "--export row.nnc --to onnx")
    cache: Path = _option(Path("runs/.cache"), "trained networks, shared by all runs", "--cache /scratch/nets", Path)

    def __post_init__(self) -> None:
        limits = {"epochs": 0, "finetune_epochs": 0, "batch_size": 2, "threads": 1, "trials": 1}
        for name, least in limits.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{_flag(name)} must be {least} or more, got {value}")
        if self.at and self.search:
            raise UsageError("--at and --search each choose the chains that run: give one of them")
        for name in ("lr", "finetune_lr", "search_minutes"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < float("inf"):
                raise UsageError(f"{_flag(name)} must be a positive number, got {rate}")
        if not self.runtimes:
            raise UsageError("--runtimes is empty: name at least one, as in --runtimes eager")
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", self.device):
            raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, got {self.device!r}")


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
                f"unknown option {flag}: {nearest(flag, [_flag(name) for name in (*_names_of_options(), *ACTIONS)])}"
            )
        if (found := re.match(r"argument --(\w+): expected", message)) and found[1] in ACTIONS:
            message += f", as in {ACTIONS[found[1]].example}"
        raise UsageError(message)


def _names_of_options() -> list[str]:
    return [option.name for option in dataclasses.fields(Options)]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


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
            made.add_argument(_flag(option.name), action="store_const", const="true", help=text)
        else:
            made.add_argument(_flag(option.name), metavar=option.name.upper(), help=text)
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
            group.add_argument(_flag(name), nargs=action.nargs, metavar=action.metavar, help=text)
        else:
            group.add_argument(_flag(name), action="store_true", help=text)
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
            raise UsageError(f"{_flag(name)} {values[name]} needs {needed}")
    taken = tuple(values) if action == "run" or ACTIONS[action].options is None else ACTIONS[action].options or ()
    if idle := [name for name in values if name not in taken]:
        only = f"it takes {', '.join(map(_flag, taken))}" if taken else "it takes no other option"
        raise UsageError(f"--{action} does not go with {_flag(idle[0])}: {only}")
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
    flag = _flag(option.name)
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
