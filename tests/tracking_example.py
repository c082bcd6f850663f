"""What tests of trackers share: a run's folder, what MLflow holds of it as plain data, and a real server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from bench.records import RunRecord
from bench.tracking import Tracking
from tests.records_example import write_run

# SQLAlchemy's, of what MLflow asks of it while it is imported; MLflow's own code is not ours to mend
NOT_OURS = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
PATIENCE_S = 240  # for a server on a machine that has other work


def dated(one: RunRecord, date: str = "2026-01-02T03:04:05+00:00") -> RunRecord:
    """The record as made at that time."""
    one.environment["date"] = date
    return one


def folder_of(tmp_path: Path, records: list[RunRecord], name: str = "run") -> Path:
    """A run's folder with its artifacts and a report of two files."""
    folder = tmp_path / name
    write_run(folder, records)
    for one in records:
        if one.artifact:
            path = folder / one.artifact
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one.case_id.encode())
    (folder / "figures").mkdir()
    (folder / "figures" / "sizes.svg").write_text("<svg/>")
    (folder / "report.md").write_text("# t\n")
    return folder


def logged(tracker, folder: Path, records: list[RunRecord]) -> list[str]:
    """Logs a run as a command does; returns all lines that were said."""
    said: list[str] = []
    tracking = Tracking([tracker])
    tracking.begin(folder, said.append)
    for one in records:
        tracking.case(one)
    return said + tracking.report(records, [folder / "figures" / "sizes.svg", folder / "report.md"])


def held(client, experiment: str) -> list[dict]:
    """Every run of an experiment as plain data: tags, parameters, all points of all metrics, files and their bytes."""
    number = client.get_experiment_by_name(experiment).experiment_id
    found = []
    for run in client.search_runs([number], order_by=["attributes.start_time ASC"]):
        key = run.info.run_id
        history = {
            name: sorted((point.step, point.value) for point in client.get_metric_history(key, name))
            for name in run.data.metrics
        }
        found.append(
            {
                "id": key,
                "name": run.info.run_name,
                "status": run.info.status,
                "span": (run.info.start_time, run.info.end_time),
                "tags": dict(run.data.tags),
                "params": dict(run.data.params),
                "metrics": history,
                "files": sorted(files(client, key)),
            }
        )
    return found


def files(client, run: str, below: str | None = None) -> list[str]:
    found = []
    for one in client.list_artifacts(run, below):
        found += files(client, run, one.path) if one.is_dir else [one.path]
    return found


def rows_of(runs: list[dict]) -> dict[str, dict]:
    """Those of cases, by case."""
    cases = [one for one in runs if one["tags"]["kind"] == "row"]
    found = {one["tags"]["case_id"]: one for one in cases}
    assert len(found) == len(cases), "a case has two runs"
    return found


def command_of(runs: list[dict]) -> dict:
    (found,) = [one for one in runs if one["tags"]["kind"] == "command"]
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """`mlflow server` on a port of its own, over a database file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self, database: Path | None = None) -> Server:
        """database: a copy of which it begins with."""
        if database:
            shutil.copyfile(database, self.folder / "mlflow.db")
        line = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination", str(self.folder / "files"),
        ]  # fmt: skip
        env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        log = self.folder / "server.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                line, cwd=self.folder, env=env, stdout=file, stderr=file, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.read() == b"OK"
        except OSError:
            return False

    def kill(self) -> None:
        """With all processes that it started."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
