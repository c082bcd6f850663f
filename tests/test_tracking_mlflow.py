"""What MLflow holds of a run is what its records say: read back through its own client from a database file."""

import dataclasses
import shlex
import shutil

import pytest

from bench.mlflow_store import opened
from bench.records import StepLog
from bench.tracking_mlflow import MLflowTracker
from bench.tracking_uri import parse_uri
from bench.tracking_values import row_of
from reports.together import join
from tests.records_example import example, failed, record, with_runtime
from tests.tracking_example import NOT_OURS, command_of, dated, folder_of, held, logged, rows_of

pytest.importorskip("mlflow", reason="MLflow is an extra: pip install -r requirements-extra.txt")
pytestmark = NOT_OURS
EXPERIMENT = "resnet18 on digits"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A database that MLflow has filled with its tables once."""
    path = tmp_path_factory.mktemp("made") / "mlflow.db"
    opened(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(made, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(made, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def records_of(*seeds):
    return [dated(one) for one in example(seeds or (0,))]


def test_a_row_is_there_with_all_that_its_record_says(uri, tmp_path):
    records = records_of(0, 1)
    steps = (StepLog("prune", 1, 2, 0.5, 0.4, 0.9), StepLog("prune", 2, 2, 0.8, float("nan"), 0.7))
    records = [dataclasses.replace(one, steps=steps) if one.chain == "prune" else one for one in records]
    folder = folder_of(tmp_path, records)
    (line,) = logged(MLflowTracker(uri), folder, records)
    assert line.endswith(f"experiment {EXPERIMENT}; to open it: mlflow ui --backend-store-uri {uri}")
    runs = held(opened(uri), EXPERIMENT)
    rows = rows_of(runs)
    assert set(rows) == {one.case_id for one in records}
    dense = {one.seed: one for one in records if one.chain == "dense"}
    for one in records:
        found, row = rows[one.case_id], row_of(one, dense[one.seed])
        assert found["params"] == row.params
        curves = {}
        for point in row.curves:
            curves.setdefault(point.name, []).append((point.step, point.value))
        assert found["metrics"] == curves | {name: [(0, value)] for name, value in row.measures.items()}
        assert row.facts.items() <= found["tags"].items()
        assert (found["name"], found["status"]) == (f"{one.chain} seed {one.seed}", "FINISHED")
        assert found["span"] == (round(1000 * row.began), round(1000 * row.ended))
        assert found["files"] == [f"artifact/{one.artifact.rpartition('/')[2]}"]
        assert found["tags"]["mlflow.parentRunId"] == command_of(runs)["id"]
        assert found["tags"]["mlflow.source.git.commit"] == one.environment["commit"]


def test_the_commands_run_holds_the_report_and_where_it_was_made(uri, tmp_path):
    records = [*records_of(), failed("dct:keep=0.1")]
    folder = folder_of(tmp_path, records)
    logged(MLflowTracker(uri), folder, records)
    client = opened(uri)
    found = command_of(held(client, EXPERIMENT))
    assert found["files"] == ["report/figures/sizes.svg", "report/plan.json", "report/report.md"]
    assert found["tags"]["command"] == "python run_bench.py --methods dct"
    assert (found["tags"]["rows"], found["status"], found["name"]) == ("5 ok, 1 failed", "FINISHED", "run")
    assert found["tags"]["commit"] == records[0].environment["commit"]
    copy = client.download_artifacts(found["id"], "report/report.md")
    with open(copy, encoding="utf-8") as file:
        assert file.read() == "# t\n"
    assert (tmp_path / "mlartifacts").is_dir(), "files lie beside the database"


def test_the_same_again_changes_nothing(uri, tmp_path):
    records = [*records_of(), failed("dct:keep=0.1"), failed("dct:keep=0.2", status="refused")]
    folder = folder_of(tmp_path, records)
    first = logged(MLflowTracker(uri), folder, records)
    before, size = held(opened(uri), EXPERIMENT), (tmp_path / "mlflow.db").read_bytes()
    assert logged(MLflowTracker(uri), folder, records) == first
    assert held(opened(uri), EXPERIMENT) == before
    assert (tmp_path / "mlflow.db").read_bytes() == size


def test_failed_and_refused_rows_are_there_with_their_reason(uri, tmp_path):
    bad = [failed("dct:keep=0.1"), failed("dct:keep=0.2", status="refused", reason="no layer is left")]
    half = with_runtime(dated(record("ptq")), "onnxruntime", status="failed", reason="out of memory")
    records = [dated(record("dense")), *bad, half]
    logged(MLflowTracker(uri), folder_of(tmp_path, records), records)
    rows = rows_of(held(opened(uri), EXPERIMENT))
    states = [(rows[one.case_id]["status"], rows[one.case_id]["tags"]["status"]) for one in bad]
    assert states == [("FAILED", "failed"), ("KILLED", "refused")]
    assert rows[bad[1].case_id]["tags"]["reason"] == "no layer is left"
    assert rows[bad[1].case_id]["tags"]["mlflow.note.content"] == "refused: no layer is left"
    assert (rows[bad[0].case_id]["metrics"], rows[bad[0].case_id]["files"]) == ({}, [])
    assert rows[half.case_id]["status"] == "FINISHED"
    assert rows[half.case_id]["tags"]["reason.onnxruntime"] == "out of memory"


def test_a_row_that_failed_and_now_runs_is_the_same_run_without_its_reason(uri, tmp_path):
    good = dated(record("prune"))
    bad = dataclasses.replace(failed("prune"), case_id=good.case_id)
    logged(MLflowTracker(uri), folder_of(tmp_path, [record("dense"), bad]), [record("dense"), bad])
    before = rows_of(held(opened(uri), EXPERIMENT))[good.case_id]
    assert before["tags"]["reason"]
    folder = folder_of(tmp_path, [record("dense"), good], "again")
    logged(MLflowTracker(uri), folder, [record("dense"), good])
    after = rows_of(held(opened(uri), EXPERIMENT))[good.case_id]
    assert (after["id"], after["status"], after["tags"].get("reason")) == (before["id"], "FINISHED", None)
    assert after["params"].items() > before["params"].items()
    assert len(after["metrics"]["training/loss"]) == len(good.training)


def test_a_runtime_that_comes_later_is_added_to_the_same_run(uri, tmp_path):
    whole = dated(record("ptq"))
    half = with_runtime(whole, "onnxruntime", status="failed", reason="absent", measurements=(), accuracy=None)
    folder = folder_of(tmp_path, [half])
    logged(MLflowTracker(uri), folder, [half])
    before = rows_of(held(opened(uri), EXPERIMENT))[half.case_id]
    logged(MLflowTracker(uri), folder, [whole])
    after = rows_of(held(opened(uri), EXPERIMENT))[half.case_id]
    assert after["id"] == before["id"]
    assert "reason.onnxruntime" not in after["tags"]
    added = set(after["metrics"]) - set(before["metrics"])
    assert added
    assert all(name.startswith("onnxruntime/") for name in added)
    assert {name: after["metrics"][name] for name in before["metrics"]} == before["metrics"], "no point is there twice"


@pytest.mark.parametrize("change", ["trained anew", "other measures", "other purpose"])
def test_what_mlflow_would_keep_of_a_row_that_is_no_more_goes(change, uri, tmp_path):
    one = dated(record("prune"))
    changed = {
        "trained anew": dataclasses.replace(one, training=one.training[:1]),
        "other measures": dataclasses.replace(one, runtimes=one.runtimes[:1]),
        "other purpose": dataclasses.replace(one, role="part", control_of=("prune+qat",)),
    }[change]
    folder = folder_of(tmp_path, [one])
    logged(MLflowTracker(uri), folder, [one])
    logged(MLflowTracker(uri), folder, [changed])
    found = rows_of(held(opened(uri), EXPERIMENT))[one.case_id]
    row = row_of(changed, None)
    assert found["params"] == row.params
    assert set(found["metrics"]) == {point.name for point in row.curves} | set(row.measures)
    assert len(found["metrics"]["training/loss"]) == len(changed.training)


@pytest.mark.parametrize("name", ["all runs", "ä#b", "x'y", "a+b&c=d"])
def test_a_database_may_lie_anywhere(name, made, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copyfile(made, folder / "my runs.db")
    uri = parse_uri(str(folder / "my runs.db"))
    one = dated(record("prune"))
    (line,) = logged(MLflowTracker(uri), folder_of(tmp_path, [one]), [one])
    assert shlex.split(line.partition("to open it: ")[2])[-1] == uri
    (found,) = rows_of(held(opened(uri), EXPERIMENT)).values()
    assert found["files"]
    assert {path.name for path in folder.iterdir()} == {"my runs.db", "mlartifacts"}
    assert {path.name for path in tmp_path.iterdir()} == {"run", name}


def test_a_chain_of_thousands_of_letters_is_cut(uri, tmp_path):
    chain = "+".join(f"prune:sparsity=0.{number}" for number in range(1000))
    one = dated(record("prune", label="prune " * 2000))
    one = dataclasses.replace(one, chain=chain, reason="x" * 9000)
    logged(MLflowTracker(uri), folder_of(tmp_path, [one]), [one])
    (found,) = rows_of(held(opened(uri), EXPERIMENT)).values()
    assert found["params"]["chain"] == chain[:5999] + "…"
    assert found["params"]["stage1000.sparsity"] == "0.999"
    assert len(found["tags"]["reason"]) == 8000
    size = (tmp_path / "mlflow.db").read_bytes()
    logged(MLflowTracker(uri), tmp_path / "run", [one])
    assert (tmp_path / "mlflow.db").read_bytes() == size


def test_the_experiments_name_can_be_set(uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    records = records_of()
    logged(MLflowTracker(uri), folder_of(tmp_path, records), records)
    assert len(rows_of(held(opened(uri), "mine"))) == len(records)
    assert opened(uri).get_experiment_by_name(EXPERIMENT) is None


def test_a_deleted_experiment_is_told_and_left_alone(uri, tmp_path):
    records = records_of()
    client = opened(uri)
    client.delete_experiment(client.create_experiment(EXPERIMENT))
    lines = logged(MLflowTracker(uri), folder_of(tmp_path, records), records)
    assert len(lines) == 2
    assert all(f"its experiment '{EXPERIMENT}' is deleted: restore it" in line for line in lines)


def test_two_runs_and_the_report_of_both_stand_side_by_side(uri, tmp_path):
    """Of several networks each has its experiment; a case of two plans is logged for each."""
    first = records_of()
    second = [dataclasses.replace(one, net="lenet", case_id=f"lenet-{one.case_id}") for one in first]
    folders = [folder_of(tmp_path, records, name) for records, name in ((first, "a"), (second, "b"))]
    tracker = MLflowTracker(uri)
    for folder, records in zip(folders, (first, second), strict=True):
        logged(tracker, folder, records)
    both = join(folders, tmp_path / "both")
    (both / "figures").mkdir()
    for name in ("figures/sizes.svg", "report.md"):
        (both / name).write_text("<p/>")
    from reports import load_run

    records, _ = load_run(both)
    logged(MLflowTracker(uri), both, records)
    for name in (EXPERIMENT, "lenet on digits"):
        runs = held(opened(uri), name)
        assert sorted(one["name"] for one in runs if one["tags"]["kind"] == "command")[-1] == "both"
        cases = [one for one in runs if one["tags"]["kind"] == "row"]
        assert len(cases) == 2 * len(first)
        assert all(one["files"] for one in cases), "the joined run names the files of the others"


def test_a_run_that_was_made_twice_is_there_once(uri, tmp_path):
    """As where a server makes a run and its answer is lost."""
    records = records_of()
    folder = folder_of(tmp_path, records)
    logged(MLflowTracker(uri), folder, records)
    client = opened(uri)
    runs = held(client, EXPERIMENT)
    number = client.get_experiment_by_name(EXPERIMENT).experiment_id
    for one in runs[:3]:
        client.create_run(number, start_time=one["span"][0] + 1, tags=one["tags"])
    logged(MLflowTracker(uri), folder, records)
    assert held(client, EXPERIMENT) == runs
