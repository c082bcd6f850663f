"""The command that report.html gives of each row is that of its run with the row's chain alone."""

import dataclasses
import shlex

import pytest

from bench.command import parse_command
from reports.html.commands import row_command, typed_commands
from tests.records_example import record

COMMAND = "python run_bench.py --methods dct,qat --net resnet18 --epochs 6 --out runs/a --orders"


@pytest.mark.parametrize(
    "typed",
    [
        COMMAND,
        "python run_bench.py --search 'size<=25KB,drop<=0.3' --trials 9 --search-minutes 2 --seeds 0,1 --no-controls",
        "python run_bench.py --methods=dct --at=size=8x --runtimes eager --out=x --weights 'my net.pt'",
        "python run_bench.py --config docs/examples/distillation.yaml",
        "python run_bench.py --mlflow http://localhost:5000 --tensorboard --seeds 0,1",
    ],
)
def test_a_rows_command_is_the_runs_with_its_chain_alone(typed):
    label = "ensemble:of='prune:sparsity=0.8+ptq':seeds=3"
    one = record("dct", label=label)
    made = shlex.split(row_command(one, typed_commands(typed)))
    own, run = (parse_command(words[2:]).options for words in (made, shlex.split(typed)))
    assert own.methods == label
    assert own.no_controls
    chosen = ("methods", "at", "search", "trials", "search_minutes", "out", "orders", "no_controls",
              "mlflow", "tensorboard")  # fmt: skip
    for field in dataclasses.fields(own):
        expected = field.default if field.name in chosen else getattr(run, field.name)
        assert field.name in ("methods", "no_controls") or getattr(own, field.name) == expected


def test_of_several_commands_that_of_the_rows_network_and_recipe_is_taken():
    lines = [
        "python run_bench.py --net lenet --dataset mnist",
        "python run_bench.py --net resnet18 --epochs 3",
        "python run_bench.py --net resnet18 --epochs 6 --finetune-epochs 2",
    ]
    commands = typed_commands("\n".join(lines))
    assert row_command(record("dct"), commands).endswith("--epochs 6 --finetune-epochs 2 --no-controls")
    lenet = dataclasses.replace(record("dct"), net="lenet", dataset="mnist")
    assert "--net lenet" in row_command(lenet, commands)
    folder = dataclasses.replace(record("dct"), dataset="photos:train=50")
    typed = typed_commands(f"{lines[1]}\npython run_bench.py --dataset folder:train=50 --data-dir a/photos")
    assert "--data-dir a/photos" in row_command(folder, typed)


def test_the_dense_row_has_the_runs_own_command_and_an_unknown_one_none():
    assert row_command(record("dense"), typed_commands(COMMAND)) == COMMAND
    assert row_command(record("dct"), typed_commands("make it so 'unclosed")) == ""
    assert row_command(record("dct"), typed_commands("")) == ""
