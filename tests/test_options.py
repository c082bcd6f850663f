"""Options: the command line wins over the file, and mistakes are told in one line."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from baselines.errors import UsageError
from bench.command import parse_command, parser
from bench.inputs import make_job, make_recipe
from bench.options import Options
from methods import METHODS

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


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("dct,prune:sparsity=0.5/0.9", "dct,prune:sparsity=0.5/0.9"),
        ("{prune: {sparsity: 0.5}}", "prune:sparsity=0.5"),
        ("[{prune: {sparsity: [0.5, 0.9], layers: conv}}, ptq]", "prune:sparsity=0.5/0.9:layers=conv,ptq"),
        ("[[{distill: {subset: 0.5, augment: false}}, {qat: }, 'half']]", "distill:subset=0.5:augment=false+qat+half"),
        ("[{distill: {dropout: null, student: 'student:widths=8/9'}}]",
         "distill:dropout=none:student='student:widths=8/9'"),
        ("[{distill: {student: ['a:b=1', c]}}]", "distill:student='a:b=1'/c"),
        ("[{ensemble: {of: \"distill:student='a:b'\"}}]", "ensemble:of=\"distill:student='a:b'\""),
    ],
)  # fmt: skip
def test_methods_may_be_written_as_lists_and_mappings(tmp_path, written, text):
    config = tmp_path / "methods.yaml"
    config.write_text(f"methods: {written}\n")
    assert parse_command(["--config", str(config)]).options.methods == text


def test_the_examples_name_what_there_is(tmp_path):
    for example in sorted((ROOT / "docs" / "examples").glob("*.yaml")):
        command = parse_command(["--config", str(example), "--dataset", "digits", "--out", str(tmp_path / "run")])
        job = make_job(command, METHODS, print)
        assert len(job.plan.cases) > 3
        assert f"--config {example.relative_to(ROOT)}" in example.read_text()


@pytest.mark.parametrize("kind", ["digits", "mnist", "cifar10", "imagenet"])
def test_images_are_shifted_unless_it_is_asked_not_to(kind):
    """And nothing else of the recipe changes."""
    usual = make_recipe(parse_command(["--dataset", kind]).options)
    plain = make_recipe(parse_command(["--dataset", kind, "--no-augment"]).options)
    assert usual.augment
    assert plain == replace(usual, augment=False)


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
        ("methods: 3", "methods must be text or a list of methods, got 3"),
        ("methods: []", "methods must be text or a list"),
        ("methods: [{prune: {}, qat: {}}]", r"entry 1 of methods must be a text, one NAME: \{KEY: VALUE\}"),
        ("methods: [ptq, [prune, 3]]", "stage 2 of entry 2 of methods must be a text"),
        ("methods: [ptq, []]", "entry 2 of methods is an empty chain"),
        ("methods: [{prune: 0.5}]", "entry 1 of methods: prune must hold KEY: VALUE pairs, got 0.5"),
        ("methods: [{prune: {sparsity: []}}]", "entry 1 of methods: sparsity has no values"),
        ("methods: [{prune: {sparsity: {a: 1}}}]", "sparsity must be a text, a number, true, false or null"),
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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--at", "size=8x", "--at", "drop=2"], "--at is given twice: write --at size=8x,drop=1"),
        (["--methods", "ptq", "--methods=prune"], "--methods is given twice: write --methods dct,prune"),
        (["--report", "a", "--report", "b"], "--report is given twice: name all runs after one --report"),
    ],
)
def test_an_option_that_is_given_twice_is_not_half_forgotten(arguments, says):
    with pytest.raises(UsageError, match=f"^{re.escape(says)}$"):
        parse_command(arguments)
    assert parse_command(["--net", "lenet", "--net", "mlp"]).options.net == "mlp"
