"""Trackers beside a run: one that fails is told of once and stops nothing, and what it lacks is tried at the end."""

import subprocess
import sys
from pathlib import Path

import pytest

from baselines.errors import UsageError
from bench.command import parse_command
from bench.options import Options
from bench.tracking import Run, Tracking, TrackingError, tracking
from tests.records_example import example, record, write_run
from tests.tracking_example import folder_of

ROOT = Path(__file__).parents[1]


class Listener:
    """A tracker that remembers, and is away as often as it is told to be."""

    def __init__(self, name="listener", away=0):
        self.name, self.away, self.held, self.reports, self.calls = name, away, {}, [], 0

    def _reach(self):
        self.calls += 1
        if self.away > 0:
            self.away -= 1
            raise TrackingError("connection refused")

    def case(self, run, row):
        self._reach()
        self.held[row.case_id] = row

    def report(self, run, rows, files):
        self._reach()
        self.reports.append([path.name for path in files])

    def opened_by(self, run):
        return f"to open it: look at {run.folder.name}"


def carry_out(folder, records, *trackers):
    said = []
    found = Tracking(trackers)
    found.begin(folder, said.append)
    for one in records:
        found.case(one)
    return said, found.report(records, [folder / "report.md"])


def test_every_record_and_the_report_are_logged(tmp_path):
    records, listener = example(), Listener()
    folder = folder_of(tmp_path, records)
    said, last = carry_out(folder, records, listener)
    assert (said, last) == ([], ["listener: to open it: look at run"])
    assert list(listener.held) == [one.case_id for one in records]
    assert listener.reports == [["report.md", "plan.json"]]


def test_one_that_is_away_is_told_once_and_caught_up_at_the_end(tmp_path):
    records, away, there = example(), Listener("away", away=1), Listener("there")
    said, last = carry_out(folder_of(tmp_path, records), records, away, there)
    assert len(said) == 1
    assert said[0].startswith("away: not logged (connection refused); the run goes on")
    assert away.calls == 1 + len(records) + 1, "it is not tried again while the run goes on"
    assert set(away.held) == set(there.held) == {one.case_id for one in records}
    assert last == [f"{name}: to open it: look at run" for name in ("away", "there")]


def test_what_is_missing_is_told_at_the_end(tmp_path):
    records = example()
    folder = folder_of(tmp_path, records)
    _, (line,) = carry_out(folder, records, Listener(away=99))
    assert line.startswith(f"listener: {len(records)} of {len(records)} rows and the report are not logged (connection")
    assert line.endswith("the same command again logs what is missing")

    class Going(Listener):
        def case(self, run, row):
            self.away = int(len(self.held) == 2)
            super().case(run, row)

    _, (line,) = carry_out(folder, records, Going())
    assert line.startswith(f"listener: {len(records) - 2} of {len(records)} rows and the report are not logged")

    class Halfway(Listener):
        def report(self, run, rows, files):
            raise TrackingError("disk full")

    _, (line,) = carry_out(folder, records, Halfway())
    assert line.startswith("listener: the report is not logged (disk full)")


def test_dense_may_come_last(tmp_path):
    dense, one = record("dense"), record("ptq")
    listener = Listener()
    carry_out(folder_of(tmp_path, [dense, one]), [one, dense], listener)
    assert listener.held[one.case_id].measures["compression_ratio"] == dense.file_bytes / one.file_bytes


def test_without_trackers_nothing_is_read_or_said(tmp_path):
    found = tracking(Options())
    found.begin(tmp_path, print)  # which holds no plan
    found.case(record("dense"))
    assert found.report([record("dense")], []) == []


def test_a_run_is_known_by_its_plan(tmp_path):
    write_run(tmp_path, [record("dense")], command="python run_bench.py --net lenet")
    run = Run.of(tmp_path)  # a plan from before, without an id
    assert (run.command, run.plan_id) == ("python run_bench.py --net lenet", Run.of(tmp_path).plan_id)
    (tmp_path / "plan.json").write_text('{"id": "0123", "command": "c", "cases": []}')
    assert Run.of(tmp_path).plan_id == "0123"
    for damaged in ("{", "[]", "{}", '{"cases": []}'):
        (tmp_path / "plan.json").write_text(damaged)
        with pytest.raises(UsageError, match="is damaged"):
            Run.of(tmp_path)


@pytest.mark.parametrize(
    ("option", "module", "says"),
    [
        (["--mlflow", "mlflow.db"], "mlflow", "--mlflow needs MLflow: pip install mlflow=="),
        (["--tensorboard"], "tensorboard", "--tensorboard needs TensorBoard: pip install tensorboard=="),
    ],
)
def test_without_the_package_one_line_says_what_to_install(option, module, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"^{says}") as caught:
        tracking(parse_command(option).options)
    (pinned,) = [word for word in str(caught.value).split() if "==" in word]
    for file in ("requirements-extra.txt", "requirements-dev.txt"):
        assert pinned in (ROOT / file).read_text().splitlines()


def test_a_report_is_logged_without_torch(tmp_path):
    """Where the packages of trackers are absent too, a report without them is drawn."""
    pytest.importorskip("tensorboard", reason="TensorBoard is an extra: pip install -r requirements-extra.txt")
    write_run(tmp_path / "run", example())
    blocked = (
        "import sys; sys.modules['torch'] = sys.modules['mlflow'] = None; import run_bench as r; sys.exit(r.main(%r))"
    )
    done = {}
    for option in ([], ["--tensorboard"]):
        line = [sys.executable, "-c", blocked % (["--report", "run", *option],)]
        done[len(option)] = subprocess.run(
            line, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
    assert [one.returncode for one in done.values()] == [0, 0], done
    assert "tensorboard --logdir run/tensorboard" in done[1].stdout
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == len(example())
