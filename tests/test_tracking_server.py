"""Rows in a real MLflow server: a command that logs as it runs, the same again, a server that is not there or goes."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from baselines.errors import UsageError
from bench.command import parse_command
from bench.mlflow_store import opened
from bench.records import read_record
from bench.tracking import Tracking
from bench.tracking_mlflow import MLflowTracker
from bench.tracking_values import row_of
from reports import load_run
from run_bench import main
from tests.records_example import example
from tests.tracking_example import (
    NOT_OURS,
    Server,
    command_of,
    dated,
    folder_of,
    free_port,
    held,
    logged,
    rows_of,
)  # fmt: skip

pytest.importorskip("mlflow", reason="MLflow is an extra: pip install -r requirements-extra.txt")
pytestmark = NOT_OURS
ROOT = Path(__file__).parents[1]
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
ENV.pop("MLFLOW_EXPERIMENT_NAME", None)
EXPERIMENT = "lenet300 on digits"
RUN = ["--net", "lenet300", "--dataset", "digits", "--epochs", "2", "--finetune-epochs", "1", "--no-controls",
       "--methods", "prune,dct:layers=conv", "--runtimes", "eager", "--out", "run",
       "--tensorboard"]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server")).start()
    yield one
    one.kill()


def command(folder, *arguments):
    line = [sys.executable, str(ROOT / "run_bench.py"), *arguments]
    return subprocess.run(line, cwd=folder, env=ENV, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ran(server, tmp_path_factory):
    """A folder in which a command has logged to the server, and how it ended."""
    folder = tmp_path_factory.mktemp("ran")
    return folder, command(folder, *RUN, "--mlflow", server.uri)


def test_a_command_logs_every_case_and_its_report(server, ran):
    folder, done = ran
    assert (done.returncode, done.stderr) == (1, ""), done.stdout  # a chain is refused
    client = opened(server.uri)
    runs = held(client, EXPERIMENT)
    rows = rows_of(runs)
    records, typed = load_run(folder / "run")
    assert set(rows) == {one.case_id for one in records}
    assert sorted(one["tags"]["status"] for one in rows.values()) == ["ok", "ok", "refused"]
    dense = {one.seed: one for one in records if one.chain == "dense"}
    for one in records:
        found, row = rows[one.case_id], row_of(one, dense[one.seed])
        assert found["params"] == row.params
        assert {name: points[-1][1] for name, points in found["metrics"].items() if points[0][0] == 0} == row.measures
        epochs = [(step, log.validation_accuracy) for step, log in enumerate(one.training, start=1)]
        assert found["metrics"].get("training/validation_accuracy", []) == epochs
        if one.artifact:
            (name,) = found["files"]
            copy = Path(client.download_artifacts(found["id"], name))
            assert copy.read_bytes() == (folder / "run" / one.artifact).read_bytes()
    whole = command_of(runs)
    assert whole["tags"]["command"] == typed
    assert whole["tags"]["plan_id"] == json.loads((folder / "run" / "plan.json").read_text())["id"]
    for path in [folder / "run" / name for name in ("report.html", "report.md", "table.csv", "plan.json")]:
        copy = Path(client.download_artifacts(whole["id"], f"report/{path.name}"))
        assert copy.read_bytes() == path.read_bytes()
    figures = {f"report/figures/{path.name}" for path in (folder / "run" / "figures").iterdir()}
    assert figures
    assert figures <= set(whole["files"])


def test_it_says_at_its_end_where_to_look(server, ran):
    folder, done = ran
    *_, page, board = done.stdout.splitlines()
    number = opened(server.uri).get_experiment_by_name(EXPERIMENT).experiment_id
    address = f"{server.uri}/#/experiments/{number}"
    assert page == f"MLflow at {server.uri}: experiment {EXPERIMENT}: {address}"
    assert board == "TensorBoard: to open it: tensorboard --logdir run/tensorboard"
    assert len(list((folder / "run" / "tensorboard").iterdir())) == 3


def test_the_same_command_again_adds_nothing(server, ran, monkeypatch, capsys):
    folder, first = ran
    monkeypatch.chdir(folder)
    before = held(opened(server.uri), EXPERIMENT)
    events = {path: path.read_bytes() for path in (folder / "run" / "tensorboard").rglob("*tfevents*")}
    assert main([*RUN, "--mlflow", server.uri]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == first.stdout.splitlines()[-2:]
    assert held(opened(server.uri), EXPERIMENT) == before
    assert {path: path.read_bytes() for path in (folder / "run" / "tensorboard").rglob("*tfevents*")} == events


def test_a_finished_run_is_logged_afterwards_as_it_would_have_been(server, ran, tmp_path, monkeypatch, capsys):
    folder, _ = ran
    monkeypatch.chdir(folder)
    there = held(opened(server.uri), EXPERIMENT)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    assert main(["--report", "run", "--mlflow", store]) == 0
    assert f"mlflow ui --backend-store-uri {store}" in capsys.readouterr().out
    afterwards = held(opened(store), EXPERIMENT)

    def plain(runs):
        kept = ("name", "status", "span", "params", "metrics", "files")
        found = {case: {key: row[key] for key in kept} for case, row in rows_of(runs).items()}
        return found, command_of(runs)["files"]

    assert plain(afterwards) == plain(there)


def test_a_server_that_goes_away_is_told_and_the_same_again_completes_it(server, tmp_path):
    records = [dated(one) for one in example(seeds=(0, 1))]
    folder = folder_of(tmp_path, records)
    said = []
    tracking = Tracking([MLflowTracker(server.uri)])
    tracking.begin(folder, said.append)
    for one in records[:4]:
        tracking.case(one)
    server.kill()
    try:
        begin = time.monotonic()
        for one in records[4:]:
            tracking.case(one)
        said += tracking.report(records, [folder / "report.md"])
        assert time.monotonic() - begin < 20
        assert len(said) == 2
        assert said[0].startswith(f"MLflow at {server.uri}: not logged (connection refused); the run goes on")
        assert said[1].startswith(
            f"MLflow at {server.uri}: {len(records) - 4} of {len(records)} rows and the report are not logged "
            "(connection refused): the same command again logs"
        )
    finally:
        server.start()
    before = rows_of(held(opened(server.uri), "resnet18 on digits"))
    assert set(before) == {one.case_id for one in records[:4]}
    logged(MLflowTracker(server.uri), folder, records)
    runs = held(opened(server.uri), "resnet18 on digits")
    after = rows_of(runs)
    assert set(after) == {one.case_id for one in records}
    assert {case: after[case] for case in before} == before
    assert command_of(runs)["files"] == ["report/figures/sizes.svg", "report/plan.json", "report/report.md"]


def test_a_case_that_was_half_logged_when_the_server_went_is_completed_without_doubles(server, tmp_path, monkeypatch):
    one = dated(example()[0])
    folder = folder_of(tmp_path, [one])
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "half")
    broken_off = 0
    for after in range(1, 20):  # requests that come through
        tracker = MLflowTracker(server.uri)
        store, count = tracker._client._tracking_client.store, []

        def broken(*arguments, _send=store._call_endpoint, _count=count, _after=after, **options):
            _count.append(1)
            if len(_count) <= _after:
                answer = _send(*arguments, **options)
            if len(_count) >= _after:  # the first of these came through, and its answer is lost
                raise ConnectionResetError("Connection reset by peer")
            return answer

        with monkeypatch.context() as lines_cut:  # the client is MLflow's for all of this address
            lines_cut.setattr(store, "_call_endpoint", broken)
            lines = logged(tracker, folder, [one])
        broken_off += "1 of 1 rows" in lines[-1]
    assert broken_off >= 4
    logged(MLflowTracker(server.uri), folder, [one])
    (found,) = rows_of(held(opened(server.uri), "half")).values()
    row = row_of(one, one)
    points = [(point.name, point.step) for point in row.curves] + [(name, 0) for name in row.measures]
    assert sorted((name, step) for name, history in found["metrics"].items() for step, _ in history) == sorted(points)
    assert found["params"] == row.params


class _OtherServer(BaseHTTPRequestHandler):
    """Some web server, that answers everything with a page."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>birds</html>")

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(params=["nobody", "silent", "birds", "no such host"])
def wrong(request):
    """An address at which there is no MLflow server, and what is to be said of it."""
    if request.param == "nobody":
        yield f"http://127.0.0.1:{free_port()}", "connection refused"
    elif request.param == "silent":
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            one.listen()
            yield f"http://127.0.0.1:{one.getsockname()[1]}", "no answer in time"
    elif request.param == "birds":
        other = ThreadingHTTPServer(("127.0.0.1", 0), _OtherServer)
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{other.server_port}", ""
        other.shutdown()
        other.server_close()
        thread.join()
    else:
        yield "http://no-such-host.invalid:5000", "there is no such host"


def test_no_server_there_ends_the_command_within_seconds(wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    uri, reason = wrong
    begin = time.monotonic()
    assert main([*RUN, "--mlflow", uri]) == 2
    assert time.monotonic() - begin < 30
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"run_bench.py: --mlflow {uri}: no MLflow server answers there ({reason}")
    assert said.err.endswith("to start one here: mlflow server --backend-store-uri sqlite:///mlflow.db\n")
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing has begun"


def test_the_patience_that_a_person_has_set_is_kept(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with pytest.raises(UsageError):
        opened(parse_command(["--mlflow", f"http://127.0.0.1:{free_port()}"]).options.mlflow)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_records_are_as_they_would_be_without_trackers(ran):
    """Nothing of a tracker is in them."""
    folder, _ = ran
    for path in (folder / "run" / "records").iterdir():
        assert "mlflow" not in path.read_text()
        read_record(path)
