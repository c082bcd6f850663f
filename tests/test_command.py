"""The command as a person uses it: runs, kills, resumes, redraws, re-scores, and mistakes."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.command import parse_command
from bench.inputs import make_job
from bench.job import begun
from methods import METHODS

ROOT = Path(__file__).parents[1]
FEW_THREADS = {**os.environ, "OMP_NUM_THREADS": "1"}
SMALL = ["--net", "lenet", "--dataset", "fake:count=600:size=16:channels=1", "--epochs", "3", "--finetune-epochs", "2",
         "--no-controls"]  # fmt: skip
RUN = [*SMALL, "--methods", "prune:sparsity=0.5,prune:sparsity=0.5+ptq", "--runtimes", "eager"]
MEASURED_ANEW = {  # columns that clocks and memory decide
    "latency_ms_b1", "latency_ms_b32", "speedup_b1", "speedup_b32", "throughput_b32", "peak_memory_bytes",
    "memory_baseline_bytes", "compress_s", "timing", "why_b1", "why_b32",
}  # fmt: skip


def command(*arguments, folder, **options):
    line = [sys.executable, str(ROOT / "run_bench.py"), *map(str, arguments)]
    return subprocess.run(line, cwd=folder, env=FEW_THREADS, capture_output=True, text=True, check=False, **options)


def job_of(*arguments):
    return make_job(parse_command(arguments), METHODS, print)


def rows(run):
    with (run / "table.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in MEASURED_ANEW} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = command(*RUN, "--out", "run", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def test_a_run_ends_with_the_table_and_the_reports_path(finished):
    folder, done = finished
    assert done.stderr == ""
    assert done.stdout.rstrip().endswith("report: run/report.md")
    assert [row["method"] for row in rows(folder / "run")] == ["dense", "prune:sparsity=0.5", "prune:sparsity=0.5+ptq"]
    for row in rows(folder / "run"):
        assert row["status"] == "ok"
        file = folder / "run" / row["artifact"]
        assert file.stat().st_size == int(float(row["file_bytes"]))


def test_the_same_command_again_does_only_what_is_missing(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*.nnc")}
    stages = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*.nnc")}
    done = command(*RUN, "--out", "run", folder=folder)
    assert done.returncode == 0
    assert done.stdout.count("kept from before") == 3
    assert {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*.nnc")} == before
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*.nnc")} == stages


def test_the_plan_says_what_is_cached_and_runs_nothing(finished):
    folder, _ = finished
    done = command(*RUN, "--plan", "--out", "elsewhere", folder=folder)
    assert done.returncode == 0
    assert done.stdout.count("stages cached") == 3
    assert "3 of 3 stages cached" in done.stdout
    assert not (folder / "elsewhere").exists()


def test_evaluating_the_file_gives_the_rows_accuracy(finished):
    folder, _ = finished
    row = rows(folder / "run")[1]
    done = command("--evaluate", f"run/{row['artifact']}", "--runtimes", "eager", folder=folder)
    assert done.returncode == 0, done.stderr
    assert f"{100 * float(row['accuracy']):.2f} %" in done.stdout
    assert row["sha256"] in done.stdout


def test_a_report_is_drawn_again_without_torch(finished):
    folder, _ = finished
    before = (folder / "run" / "table.csv").read_bytes()
    (folder / "run" / "table.csv").unlink()
    blocked = "import sys; sys.modules['torch'] = None; import run_bench; sys.exit(run_bench.main(['--report', 'run']))"
    line = [sys.executable, "-c", blocked]
    env = {**FEW_THREADS, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "run" / "table.csv").read_bytes() == before


def test_a_run_killed_at_random_moments_and_resumed_gives_the_same_table(finished, tmp_path):
    folder, _ = finished
    chance = random.Random(5)
    kills = 0
    while kills < 5:
        line = [sys.executable, str(ROOT / "run_bench.py"), *RUN, "--out", "run"]
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                line, cwd=tmp_path, env=FEW_THREADS, stdout=log, stderr=log, start_new_session=True
            )
            try:
                assert process.wait(chance.uniform(3.0, 9.0)) == 0, (tmp_path / "log").read_text()
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
        for record in (tmp_path / "run" / "records").glob("*.json"):
            json.loads(record.read_text())  # what is there is whole
    assert kills, "the run ended before it could be killed once"
    done = command(*RUN, "--out", "run", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(tmp_path / "run") == rows(folder / "run")


def test_control_c_says_what_is_kept(tmp_path):
    line = [sys.executable, str(ROOT / "run_bench.py"), *RUN, "--epochs", "500", "--out", "run"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and pass that on
    try:
        process = subprocess.Popen(line, cwd=tmp_path, env=FEW_THREADS, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/.cache/snapshots/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in out


def test_one_failing_case_stops_no_other_and_the_exit_code_says_so(tmp_path):
    line = [
        *SMALL,
        "--methods",
        "dct:keep=0.5,prune:sparsity=0.5",
        "--runtimes",
        "eager",
        "--lr",
        "0.05",
        "--out",
        "run",
    ]
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "def make(in_channels, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(256, 1), nn.Linear(1, classes, bias=False))\n"
    )
    done = command(*line, "--net", "mine.py:make", "--layers", "conv", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    table = rows(tmp_path / "run")
    assert [row["status"] for row in table] == ["ok", "refused", "refused"]
    assert "conv" in table[1]["reason"]


def test_a_training_that_diverges_is_a_record_with_its_reason(tmp_path):
    line = [*SMALL, "--methods", "prune", "--runtimes", "eager", "--lr", "1e30", "--out", "run"]
    done = command(*line, folder=tmp_path)
    assert done.returncode == 1
    assert [row["status"] for row in rows(tmp_path / "run")] == ["failed", "failed"]
    first = rows(tmp_path / "run")[0]["reason"]
    assert first.startswith("Diverged: the loss is ")
    assert "in epoch 1, step" in first
    assert "pass a smaller --lr" in first
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "dtc"], "unknown method 'dtc': did you mean 'dct'?"),
        (["--at", "siez=8x"], "--at cannot match 'siez': did you mean 'size'?"),
        (["--plan", "--at", "size=8x"], "--plan knows no chains that are still to be chosen"),
        (["--search", "size<=3GB,drop<=1"], "size has no unit 'gb'"),
        (["--methods", "dct:kep=1"], "no hyperparameter 'kep': did you mean 'keep'?"),
        (["--methods", "prune:sparsity=1.5"], "sparsity must be in [0, 1), got 1.5"),
        (["--methods", "qat+prune"], "prune cannot come after qat"),
        (["--net", "resnet81"], "did you mean"),
        (["--net", "nowhere.py:make"], "nowhere.py"),
        (["--dataset", "digitz"], "did you mean 'digits'"),
        (["--dataset", "mnist", "--data-dir", "nowhere"], "nowhere"),
        (["--runtimes", "eeger"], "unknown runtime 'eeger': did you mean 'eager'"),
        (["--device", "cuda:99"], "use --device cpu"),
        (["--weights", "nowhere.pt"], "there is no weights file nowhere.pt"),
        (["--evaluate", "nowhere.nnc"], "there is no such file"),
        (["--evaluate", "nowhere.nnc", "--net", "lenet"], "--evaluate does not go with --net: it takes --data-dir"),
        (["--report", "nowhere", "--methods", "dct"], "--report does not go with --methods: it takes --out"),
        (["--seeds", "99999999999999999999999"], "--seeds cannot be"),
        (["--device", "cpu:"], "--device must be auto, cpu, cuda or cuda:N, got 'cpu:'"),
        (["--weights", __file__, "--net", "lenet"], "is not a readable state dict: write it with torch.save"),
        (["--report", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(tmp_path, capsys, monkeypatch, arguments, says):
    import run_bench

    monkeypatch.chdir(tmp_path)
    assert run_bench.main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_plan_is_refused(finished, capsys, monkeypatch):
    import run_bench

    monkeypatch.chdir(finished[0])
    assert run_bench.main([*SMALL, "--methods", "dct", "--runtimes", "eager", "--out", "run"]) == 2
    assert "holds the run of another plan" in capsys.readouterr().err


def test_a_runtime_that_did_not_run_is_tried_again_alone(tmp_path, monkeypatch):
    import run_bench
    from bench.measure.accuracy import decode
    from bench.records import read_record

    monkeypatch.chdir(tmp_path)
    arguments = ["--net", "lenet300", "--methods", "ptq", "--epochs", "0", "--finetune-epochs", "0", "--out", "run",
                 "--no-controls"]  # fmt: skip
    assert run_bench.main(arguments) == 0
    record = next(path for path in Path("run/records").glob("*.json") if read_record(path).label == "ptq")
    before = read_record(record)
    hits = decode(before.runtimes[0].accuracy.predictions) == decode(before.test_labels)
    assert (int(hits.sum()), len(before.class_names)) == (before.runtimes[0].accuracy.correct, 10)
    data = json.loads(record.read_text())
    data["runtimes"][1] |= {"status": "failed", "reason": "planted", "accuracy": None, "measurements": []}
    record.write_text(json.dumps(data))
    assert run_bench.main(arguments) == 0
    after = read_record(record)
    assert after.runtimes[0] == before.runtimes[0]  # to the last sample
    assert (after.runtimes[1].status, after.runtimes[1].accuracy) == ("ok", before.runtimes[1].accuracy)
    assert after.runtimes[1].measurements != before.runtimes[1].measurements
    assert after.runtimes[1].agreement == before.runtimes[1].agreement
    assert after.test_labels == before.test_labels

    record.write_text(json.dumps(data))
    job = job_of(*arguments)
    (case,) = (case for case in job.plan.cases if case.chain)
    assert begun(job, case) == read_record(record)
    data["environment"]["packages"]["torch"] = "another"  # a row has one environment: all is measured again
    record.write_text(json.dumps(data))
    assert begun(job, case) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "version", "empty"])
def test_a_damaged_artifact_is_refused_in_one_line(finished, tmp_path, capsys, damage):
    import run_bench

    data = bytearray(next((finished[0] / "run" / "artifacts").glob("dense*.nnc")).read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 16
    elif damage == "version":
        data[4:6] = b"\xff\xff"
    data = data[: {"truncate": len(data) - 7, "empty": 0}.get(damage, len(data))]
    (tmp_path / "bad.nnc").write_bytes(data)
    assert run_bench.main(["--evaluate", str(tmp_path / "bad.nnc")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_of_the_cache_is_no_artifact(finished, capsys):
    import run_bench

    stage = next((finished[0] / "runs" / ".cache" / "stages").glob("*.nnc"))
    assert run_bench.main(["--evaluate", str(stage)]) == 2
    assert "not an artifact of a run" in capsys.readouterr().err


def test_control_c_anywhere_is_one_line(monkeypatch, capsys):
    import run_bench

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.inputs.make_job", interrupted)
    assert run_bench.main(["--plan"]) == 130
    assert capsys.readouterr().err == "run_bench.py: interrupted\n"


@pytest.mark.parametrize("content", ['{"id": "x', "[]", "{}"])
def test_a_damaged_plan_is_told_in_one_line(tmp_path, capsys, monkeypatch, content):
    import run_bench

    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text(content)
    assert run_bench.main([*SMALL, "--methods", "prune", "--runtimes", "eager", "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert "is damaged: delete it and run again" in error
    assert error.count("\n") == 1


def test_a_runtime_that_did_not_run_shows_in_the_exit_code_and_is_tried_again(finished, tmp_path):
    record = next((finished[0] / "run" / "records").glob("*.json"))
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "run", run)
    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    data = json.loads(record.read_text())
    data["runtimes"][0] |= {"status": "failed", "reason": "planted", "accuracy": None, "measurements": []}
    (run / "records" / record.name).write_text(json.dumps(data))
    import run_bench
    from bench.records import read_record

    planted = read_record(run / "records" / record.name)
    assert run_bench._problems([planted]) == [f"{planted.label} (seed 0) in eager failed: planted"]
    done = command(*RUN, "--out", "run", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("kept from before") == 2
    assert rows(run) == rows(finished[0] / "run")
