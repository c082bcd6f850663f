"""Where rows are logged to: what can be no address is told at once, in one line, without MLflow."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from baselines.errors import UsageError
from bench.command import parse_command
from bench.tracking_uri import check_database, database, parse_uri

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("typed", "uri", "file"),
    [
        ("http://localhost:5000", "http://localhost:5000", None),
        ("https://mlflow.example/base/", "https://mlflow.example/base", None),
        ("http://[::1]:5000", "http://[::1]:5000", None),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:////data/all runs.db", "sqlite:////data/all runs.db", "/data/all runs.db"),
        ("sqlite:///all%20runs.db", "sqlite:///all%20runs.db", "all runs.db"),
        ("runs/mlflow.db", "sqlite:///runs/mlflow.db", "runs/mlflow.db"),
        ("50%20?.db", "sqlite:///50%2520%3F.db", "50%20?.db"),
        ("/data/mlflow.db", "sqlite:////data/mlflow.db", "/data/mlflow.db"),
    ],
)
def test_a_server_or_a_file(typed, uri, file):
    assert parse_uri(typed) == uri
    assert database(uri) == (Path(file) if file else None)
    assert parse_command(["--mlflow", typed]).options.mlflow == uri


@pytest.mark.parametrize(
    "typed",
    ["", " ", "http://", "http://:5000", "http://host:port", "http:/host", "sqlite://", "sqlite:///", "sqlite:///a?b=1",
     "localhost:5000", "ftp://host", "file:///mlruns", "postgresql://host/name", "http://host:99999"],
)  # fmt: skip
def test_what_is_no_address_is_told_with_what_to_write(typed):
    with pytest.raises(UsageError, match="write --mlflow http://localhost:5000 or") as caught:
        parse_uri(typed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "typed", ["http://ann:secret@host:5000", "ftp://ann:secret@host", "postgresql://ann:secret@host/db"]
)
def test_a_password_is_neither_taken_nor_repeated(typed):
    with pytest.raises(UsageError) as caught:
        parse_uri(typed)
    assert "secret" not in str(caught.value)


def test_files_that_can_be_no_database_of_mlflows(tmp_path):
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("not a database, but long enough to be taken for one" * 40)
    with closing(sqlite3.connect(other)) as file:
        file.execute("CREATE TABLE birds (name TEXT)")
        file.commit()
    before = other.read_bytes()
    for path, says in [
        (tmp_path, "is a folder: name a database file"),
        (tmp_path / "no" / "mlflow.db", "there is no folder"),
        (text, "is no database of MLflow"),
        (tmp_path / "50%20.db", "MLflow cannot put files below a name with %"),
        (other, "is no database of MLflow"),
    ]:
        with pytest.raises(UsageError, match=says):
            check_database(path)
    assert other.read_bytes() == before
    check_database(tmp_path / "new.db")
    (tmp_path / "empty.db").touch()
    check_database(tmp_path / "empty.db")


@pytest.mark.parametrize("action", [["--list"], ["--evaluate", "x.nnc"], ["--advise", "drop<=1"]])
def test_trackers_go_with_runs_and_reports_alone(action):
    for option in (["--mlflow", "a.db"], ["--tensorboard"]):
        with pytest.raises(UsageError, match="does not go with"):
            parse_command([*action, *option])
        assert parse_command(["--report", "runs/x", *option]).action == "report"


def test_the_command_ends_with_2_and_one_line(tmp_path):
    line = [sys.executable, str(ROOT / "run_bench.py"), "--net", "lenet300", "--mlflow", str(tmp_path / "no" / "x.db")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "there is no folder" in done.stderr
    assert list(tmp_path.iterdir()) == []
