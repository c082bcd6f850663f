"""Several runs in one report."""

import dataclasses
import re
from pathlib import Path

import pytest

from bench.records import RunRecord, read_record, write_json
from reports import draw, join, load_run
from run_bench import BAD_USAGE, OK, main
from tests.records_example import record, write_run


def elsewhere(one: RunRecord, net: str = "lenet", data: str = "mnist") -> RunRecord:
    """The row of another network and data set."""
    return dataclasses.replace(one, net=net, dataset=data, case_id=f"{net}-{one.case_id}")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two runs of two networks, and the folder they are joined in."""
    write_run(tmp_path / "a", [record("dense"), record("qat", accuracy=0.9)], "python run_bench.py --net resnet18")
    write_run(tmp_path / "b", [elsewhere(record("dense")), elsewhere(record("qat"))], "python run_bench.py --net lenet")
    return tmp_path / "a", tmp_path / "b", tmp_path / "both"


def test_rows_commands_and_files_of_all_runs_are_there(runs):
    first, second, both = runs
    records, command = load_run(join([first, second], both))
    assert [(one.net, one.chain) for one in records] == [
        ("resnet18", "dense"), ("resnet18", "qat"), ("lenet", "dense"), ("lenet", "qat"),
    ]  # fmt: skip
    assert command.splitlines() == ["python run_bench.py --net resnet18", "python run_bench.py --net lenet"]
    assert [one.artifact for one in records] == [
        f"../{run.name}/{one.artifact}" for run in (first, second) for one in load_run(run)[0]
    ]


def test_networks_are_told_apart_in_tables_and_have_figures_of_their_own(runs):
    first, second, both = runs
    records, command = load_run(join([first, second], both))
    draw(records, both, title="t", command=command)
    page = (both / "report.md").read_text()
    rows = [line for line in (both / "table.md").read_text().splitlines() if line.startswith("| qat |")]
    assert len({re.search(r"(resnet18 on digits|lenet on mnist)", line)[0] for line in rows}) == 2
    linked = re.findall(r"\]\((figures/[^)]+)\)", page)
    assert sorted(linked) == sorted(f"figures/{path.name}" for path in (both / "figures").glob("*.png"))
    assert len(linked) == len(set(linked)) == 10
    for number, run in enumerate((first, second), start=1):
        alone = run / "report"
        draw(load_run(run)[0], alone, title="t", command="c")
        name = "layer_bytes"
        assert (both / "figures" / f"{name}_{number}.png").read_bytes() == (
            alone / "figures" / f"{name}.png"
        ).read_bytes()
    assert "- resnet18 on digits, seed 0:" in page
    assert "- lenet on mnist, seed 0:" in page
    assert "below dense: resnet18 on digits" in page


def test_rows_of_one_network_and_several_runs_are_one_table(runs, tmp_path):
    first, _, both = runs
    write_run(tmp_path / "c", [record("dense"), record("dct"), record("dct", seed=1), record("dense", seed=1)])
    records = load_run(join([first, tmp_path / "c"], both))[0]
    assert [(one.chain, one.seed) for one in records] == [
        ("dense", 0),
        ("qat", 0),
        ("dct", 0),
        ("dct", 1),
        ("dense", 1),
    ]


def test_a_row_that_one_run_asked_for_is_no_control_of_another(runs, tmp_path):
    first, _, both = runs
    control = dataclasses.replace(record("qat", accuracy=0.9), role="half", control_of=("dct",))
    more = dataclasses.replace(control, case_id="half", chain="half", label="half")
    write_run(tmp_path / "c", [control, more])
    write_run(tmp_path / "d", [dataclasses.replace(more, control_of=("ptq",))])
    for runs_in_order in ([tmp_path / "c", first, tmp_path / "d"], [tmp_path / "d", first, tmp_path / "c"]):
        found = {one.chain: one for one in load_run(join(runs_in_order, both))[0]}
        assert (found["qat"].role, found["qat"].control_of) == ("asked", ())
        assert (found["half"].role, set(found["half"].control_of)) == ("half", {"dct", "ptq"})


def test_a_chain_is_there_for_the_same_in_all_seeds(tmp_path):
    part = [dataclasses.replace(record("ptq", seed=seed), role="part", control_of=("x",)) for seed in (0, 1, 2)]
    write_run(tmp_path / "parts", [*(record("dense", seed=seed) for seed in (0, 1, 2)), *part])
    write_run(tmp_path / "asked", [record("dense"), record("ptq")])
    for names in (("parts", "asked"), ("asked", "parts")):
        records = load_run(join([tmp_path / name for name in names], tmp_path / "both"))[0]
        assert {(one.seed, one.role, one.control_of) for one in records if one.chain == "ptq"} == {
            (seed, "asked", ()) for seed in (0, 1, 2)
        }


def test_how_chains_were_chosen_is_told_of_each_run(tmp_path):
    match = {
        "target": "size=8x", "asked": "ptq", "status": "ok", "label": "ptq", "chain": "ptq", "reached": 7.9,
        "validation_accuracy": 0.9, "file_bytes": 1000, "trials": 1, "cheap_trials": 2, "reason": "near",
    }  # fmt: skip
    held = {"seed": 0, "runtime": "eager", "dense_bytes": 8000, "dense_validation_accuracy": 0.95, "matches": [match]}
    for name, net in (("a", "lenet"), ("b", "mlp")):
        write_run(tmp_path / name, [elsewhere(record("dense"), net), elsewhere(record("ptq"), net)])
        write_json(held, tmp_path / name / "matched.json")
    both = join([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    again = join([both], tmp_path / "again")
    for folder in (both, again):
        draw(load_run(folder)[0], folder, title="t", command="c")
        page = (folder / "report.md").read_text()
        assert page.count("## At size 8x: lenet on mnist") == page.count("## At size 8x: mlp on mnist") == 1


def test_what_was_measured_otherwise_is_named(tmp_path):
    write_run(tmp_path / "a", [record("dense")])
    other = dataclasses.replace(record("dense", runtimes=("openvino",)), case_id="other")
    write_run(tmp_path / "b", [other])
    with pytest.raises(ValueError, match=r"\(in the runtimes eager, onnxruntime and openvino\): report"):
        join([tmp_path / "a", tmp_path / "b"], tmp_path / "both")


def test_rows_that_were_trained_in_two_ways_are_not_put_side_by_side(runs, tmp_path):
    first, second, both = runs
    other = dataclasses.replace(record("qat"), case_id="other", recipe={**record("qat").recipe, "epochs": 60})
    write_run(tmp_path / "c", [record("dense"), other])
    with pytest.raises(ValueError, match=r"^qat of resnet18 on digits, seed 0, .*\(epochs 6 and 60\): report .* apart"):
        join([first, second, tmp_path / "c"], both)
    assert not both.exists()


def test_a_joined_folder_is_joined_again_and_any_other_is_left_alone(runs):
    first, second, both = runs
    join([first], both)
    draw(*[load_run(both)[0], both], title="t", command="c")
    join([second], both)
    assert [read_record(path).net for path in (both / "records").iterdir()] == ["lenet", "lenet"]
    assert not (both / "figures").exists()
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    for runs_in_order in ([first, second], [second, first], [second]):
        with pytest.raises(ValueError, match=r"--out .*a (is one of the runs|holds something else): choose"):
            join(runs_in_order, first)
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    write_json({"runs": 1}, both.with_name("mine") / "notes.json")
    with pytest.raises(ValueError, match="holds something else"):
        join([first], both.with_name("mine"))


def test_the_command_reports_several_runs(runs, capsys):
    first, second, both = map(str, runs)
    assert main(["--report", first, second, "--out", both]) == OK
    assert "resnet18" in (Path(both) / "report.md").read_text().splitlines()[0]
    capsys.readouterr()
    assert main(["--report", first, second]) == OK
    assert str(runs[0].parent / "a+b" / "report.md") in capsys.readouterr().out
    assert main(["--report", first, "nowhere", "--out", both]) == BAD_USAGE
    assert "nowhere: there is no such folder" in capsys.readouterr().err
