"""The tutorial as its reader follows it: every block of the page is run in order, and what it shows is what comes.

Outputs on the page are generated: `REWRITE_TUTORIAL=1 python -m pytest tests/test_tutorial.py` puts in those of this
machine. Figures are not compared, they are another machine's; words, rows and their order are.
"""

import ast
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.command import parse_command
from bench.grammar import parse_chains
from bench.measure.accuracy import decode
from bench.records import read_record
from methods import METHODS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"(<!-- only read by the test -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRESS = re.compile(r"\[\d+/\d+\] |reading data and planning$")  # how lines of progress begin


@dataclass(frozen=True)
class Block:
    """A block of code of the page."""

    kind: str  # bash, python or text
    text: str
    only_read: bool


@dataclass(frozen=True)
class Done:
    """A block of commands, what it said, and the block of output below it, if there is one."""

    block: Block
    out: str
    err: str
    shown: str | None


def blocks(page):
    return [Block(kind, text, bool(mark)) for mark, kind, text in BLOCK.findall(page)]


def masked(text):
    """The words of a text, whatever its figures, ids and spacing."""
    text = re.sub(r"\b[0-9a-f]{64}\b|(?<=-s0-)[0-9a-f]+", "ID", text)
    return re.sub(r"\d[\d.,]*(e-?\d+)?", "N", text).split()


def said(output):
    """What a command said besides its progress."""
    lines = [line.rstrip() for line in output.splitlines() if not PROGRESS.match(line)]
    return "\n".join(lines).strip("\n") + "\n"


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """(the reader's folder, the blocks of commands that were run)."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("run_bench.py", "docs"):
        (folder / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "COLUMNS": "109", "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder)}
    env.pop("PYTHONPATH", None)
    found, done = blocks(PAGE.read_text(encoding="utf-8")), []
    for block, after in zip(found, [*found[1:], Block("", "", False)], strict=True):
        if block.kind == "python":
            name = re.match(r"# (\w+\.py)\n", block.text)
            assert name, f"its first line has to be a comment that names its file: {block.text}"
            (folder / name[1]).write_text(block.text)
        elif block.kind == "bash" and not block.only_read:
            line = ["bash", "-euc", block.text]
            ran = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=1500)
            assert ran.returncode == 0, f"{block.text}{ran.stdout}{ran.stderr}"
            done.append(Done(block, ran.stdout, ran.stderr, after.text if after.kind == "text" else None))
    if os.environ.get("REWRITE_TUTORIAL"):
        done = rewrite(done)
    return folder, done


def rewrite(done):
    """Puts the outputs that came into the page; returns the blocks with what it shows now."""
    page = PAGE.read_text(encoding="utf-8")
    for one in done:
        if one.shown is not None:
            before = f"{one.block.text}```\n\n```text\n{one.shown}```"
            assert page.count(before) == 1
            page = page.replace(before, f"{one.block.text}```\n\n```text\n{said(one.out)}```")
    PAGE.write_text(page, encoding="utf-8")
    return [replace(one, shown=None if one.shown is None else said(one.out)) for one in done]


def the(done, word):
    """The one block of commands with `word` in it."""
    (found,) = (one for one in done if word in one.block.text)
    return found


def test_what_the_page_shows_is_what_comes(followed):
    shown = [one for one in followed[1] if one.shown is not None]
    assert len(shown) == 4
    for one in shown:
        assert masked(one.shown) == masked(said(one.out)), one.block.text


def test_commands_say_nothing_that_the_page_does_not_explain(followed):
    assert [one.err for one in followed[1] if one.err] == []


def test_the_plan_is_what_ran(followed):
    folder, done = followed
    planned = [line.split()[0] for line in the(done, "--plan").out.splitlines() if "  seed 0  " in line]
    assert planned == json.loads((folder / "runs/first/plan.json").read_text())["cases"]
    assert planned


def test_files_that_the_page_names_are_made(followed):
    folder, _ = followed
    for name in re.findall(r"`(runs/first/[\w./]+)`", PAGE.read_text(encoding="utf-8")):
        assert (folder / name).exists(), name
    assert (folder / "my_net.onnx").is_file()


def test_the_file_gives_the_row_again_and_so_does_the_export(followed):
    folder, done = followed
    record = row(folder)
    score = f"{record.runtimes[0].accuracy.correct} of {record.runtimes[0].accuracy.seen} correct"
    assert score in the(done, "--evaluate").out
    assert score in the(done, "--export").out.splitlines()[1]


def test_the_ten_lines_need_nothing_of_this_project_and_predict_what_the_row_does(followed, monkeypatch, capsys):
    folder, done = followed
    program = folder / "classify.py"
    tree = ast.parse(program.read_text())
    imports = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert imports == {"json", "sys", "numpy", "onnxruntime", "PIL"}
    assert len([node for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))]) <= 10

    record = row(folder)
    predicted = [record.class_names[index] for index in decode(record.runtimes[0].accuracy.predictions)]
    photos = [path for name in record.class_names for path in sorted((folder / "my_photos/test" / name).iterdir())]
    monkeypatch.chdir(folder)
    for photo in photos:
        monkeypatch.setattr(sys, "argv", ["classify.py", str(photo)])
        runpy.run_path(str(program))
    answers = capsys.readouterr().out.split()
    same = sum(one == other for one, other in zip(answers, predicted, strict=True))
    assert same >= 0.95 * len(photos)  # photos are scaled in one step there, in two here: pixels differ by rounding
    assert the(done, "classify.py").out.strip() == answers[0]


def row(folder):
    """The record of the row that the page chooses."""
    records = [read_record(path) for path in (folder / "runs/first/records").glob("*.json")]
    (found,) = (one for one in records if one.label == "ptq")
    return found


def test_commands_that_are_only_read_are_understood():
    read = [line for one in blocks(PAGE.read_text(encoding="utf-8")) if one.only_read for line in one.text.splitlines()]
    assert len(read) == 2
    for line in read:
        options = parse_command(shlex.split(line)[2:]).options
        assert options.at or options.search
        assert parse_chains(options.methods, METHODS, options.layers)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("54 of 60 correct (90.00 %)", "7 of 9 correct (1 %)", True),
        ("ptq-s0-d74f7d.nnc", "ptq-s0-1a2b3c.nnc", True),
        ("logits 8e-08 apart", "logits 0.1 apart", True),
        ("a   b\nc", "a b c", True),
        ("a b", "b a", False),
        ("eager 1.0", "onnxruntime 1.0", False),
        ("[int8 QGemm x1]", "[fp32 Gemm x1]", False),
    ],
)
def test_outputs_are_compared_but_for_figures(one, other, alike):
    assert (masked(one) == masked(other)) == alike
