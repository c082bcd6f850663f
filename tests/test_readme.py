"""What the README tells people to type is understood, and what it points to is there."""

import ast
import re
import shlex
import textwrap
from pathlib import Path

import pytest

from bench.command import parse_command
from bench.grammar import parse_chains
from methods import METHODS
from reports import draw
from tests.records_example import KINDS, record

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", README, flags=re.MULTILINE)
LINES = [line.strip() for block in CODE for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("python run_bench")]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_understood(line):
    command = parse_command(shlex.split(line, comments=True)[2:])
    assert parse_chains(command.options.methods, METHODS, command.options.layers)


def test_there_are_commands_to_check():
    assert len(COMMANDS) >= 6


def test_links_and_pictures_are_there():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    missing = [target for target in targets if not target.startswith("http") and not (ROOT / target).exists()]
    assert not missing


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^ {4})make (\w+)", README, flags=re.MULTILINE))
    assert {"bench", "test", "setup", "check"} <= targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_ci_runs_the_readmes_test_command():
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_method_of_the_readme_works(tmp_path, monkeypatch):
    block = next(block for block in CODE if "class Rounding" in block)
    source = textwrap.dedent(block)
    ast.parse(source)
    (tmp_path / "rounding_of_the_readme.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import torch
    from rounding_of_the_readme import Rounding
    from torch import nn

    from methods.base import Task
    from methods.graph import trace

    def no_training(model, *, lr_scale=1.0):
        raise AssertionError("rounding does not train")

    (chain,) = parse_chains("round:step=0.5", {"round": Rounding})
    torch.manual_seed(0)
    model = trace(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2)))
    rounded = chain.stages[0].method.compress(model, Task(no_training, iter))
    weight = rounded.get_submodule("0").weight
    assert torch.equal(weight, (weight / 0.5).round() * 0.5)
    assert not torch.equal(weight, model.get_submodule("0").weight)


def like(name):
    return name if name in KINDS else "ptq"


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--methods" in line])
def test_a_report_is_drawn_of_what_every_command_runs(line, tmp_path):
    """On records whose chains are those of the command, whatever their numbers."""
    options = parse_command(shlex.split(line, comments=True)[2:]).options
    chains = parse_chains(options.methods, METHODS, options.layers)
    rows = [record(chain.text, label=chain.label, like=like(chain.stages[0].name)) for chain in chains]
    draw([record("dense"), *rows], tmp_path, title="t", command=line)
    table = (tmp_path / "table.csv").read_text()
    assert all(chain.label in table for chain in chains)
