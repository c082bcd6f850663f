"""Options: the command line wins over the file, and mistakes are told in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from baselines.errors import UsageError
from bench.options import Options, parse_command, parser

ROOT = Path(__file__).parents[1]


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path):
    config = tmp_path / "sweep.yaml"
    config.write_text(
        "net: lenet\nseeds: [3, 4]\nfinetune-epochs: 2\ndownload: false\nmethods: [dct, 'prune:sparsity=0.5']\n"
    )
    options = parse_command(["--config", str(config), "--net", "alexnet", "--out", "runs/x"]).options
    assert options.net == "alexnet"
    assert options.seeds == (3, 4)
    assert options.finetune_epochs == 2
    assert options.download is False
    assert options.methods == "dct,prune:sparsity=0.5"
    assert options.dataset == Options().dataset


def test_help_has_an_example_for_each_option():
    text = parser().format_help()
    options = [line.split()[0] for line in text.splitlines() if line.startswith("  --")]
    assert len(options) >= 25
    assert text.count("e.g. ") == len(options), "each option has one example"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--nett", "x"], "unknown option --nett: did you mean '--net'"),
        (["--epochs", "two"], "--epochs cannot be 'two'"),
        (["--epochs", "-1"], "--epochs must be 0 or more, got -1"),
        (["--batch-size", "1"], "--batch-size must be 2 or more"),
        (["--lr", "0"], "--lr must be a positive number"),
        (["--lr", "nan"], "--lr must be a positive number"),
        (["--finetune-lr", "-1"], "--finetune-lr must be a positive number"),
        (["--threads", "0"], "--threads must be 1 or more"),
        (["--seeds", "1,1"], "--seeds cannot be '1,1'"),
        (["--device", "gpu"], "--device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        (["--device", "cpu:0"], "--device must be"),
        (["--layers", "cov"], "--layers must be one of all, conv, linear"),
        (["--runtimes", ","], "--runtimes is empty"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml cannot be read: No such file"),
        (["--plan", "--list"], "not allowed with"),
        (["--net"], "expected one argument"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse_command(arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nett: x", "unknown option 'nett': did you mean 'net'"),
        ("- a", "must hold"),
        ("net: [", "cannot be read"),
        ("download: maybe", "--download must be true or false"),
        ("\x00", "cannot be read"),
    ],
)
def test_mistakes_in_the_file_are_told_in_one_line(tmp_path, text, says):
    config = tmp_path / "bad.yaml"
    config.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        parse_command(["--config", str(config)])
    assert "\n" not in str(caught.value)


def test_a_mistake_ends_the_command_with_2_and_no_traceback():
    done = subprocess.run(
        [sys.executable, "run_bench.py", "--nett", "x"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("run_bench.py: unknown option --nett")
    assert done.stderr.count("\n") == 1
