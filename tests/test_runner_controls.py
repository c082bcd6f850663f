"""The runner and rows that nobody typed: refusals known beforehand, records of before, and the exit code."""

import dataclasses
import json

import pytest

import run_bench
from bench.casework import CaseWork
from bench.command import parse_command
from bench.estimate import Meter, Narrator
from bench.inputs import make_job
from bench.measure import Server
from bench.records import RunRecord, read_record, write_record
from bench.runner import Runner, kept
from methods import METHODS

ARGUMENTS = ["--net", "lenet300", "--dataset", "digits:train=200", "--methods", "prune+ptq", "--orders"]


class Quiet:
    def say(self, text):
        pass

    step = case = lambda self, *_: None


def job_in(folder, *more):
    typed = [*ARGUMENTS, "--out", str(folder / "run"), "--cache", str(folder / "cache"), *more]
    return make_job(parse_command(typed), METHODS, print)


@pytest.mark.parametrize(
    ("more", "roles"),
    [
        ([], ["asked", "asked", "order", "longer", "small", "half", "xz", "random", "part", "part"]),
        (["--no-controls"], ["asked", "asked", "order"]),
    ],
)
def test_controls_are_there_unless_they_are_not_wanted(tmp_path, more, roles):
    assert [case.role for case in job_in(tmp_path, *more).plan.cases] == roles


def test_the_config_file_can_leave_them_out(tmp_path):
    (tmp_path / "mine.yaml").write_text("no-controls: true\norders: true\n")
    options = parse_command(["--config", str(tmp_path / "mine.yaml")]).options
    assert (options.no_controls, options.orders) == (True, True)


def test_an_order_that_cannot_work_is_a_record_with_its_reason_and_nothing_is_trained(tmp_path, monkeypatch):
    def trained(*_, **__):
        raise AssertionError("something was trained")

    monkeypatch.setattr("bench.casework.stages", trained)
    job = job_in(tmp_path)
    case = next(one for one in job.plan.cases if one.role == "order")
    runner = Runner(job, Quiet())
    runner.work = CaseWork(job, Narrator(Quiet(), Meter({})), Server(()))
    record = runner._attempt(case)
    assert (record.status, record.role) == ("refused", "order")
    assert record.reason.startswith("prune cannot come after ptq, what it stores was fitted")
    assert record.control_of == (job.plan.cases[1].text,)
    assert read_record(job.record_path(case)) == record


def test_a_record_of_before_is_what_this_plan_has_it_for(tmp_path):
    job = job_in(tmp_path)
    case = next(one for one in job.plan.cases if one.role == "half")
    blank = CaseWork(job, Narrator(Quiet(), Meter({})), Server(())).unfinished(case, "ok", "")
    before = dataclasses.replace(blank, role="asked", control_of=())
    write_record(before, job.record_path(case))
    now = kept(job, case, before)
    assert (now.role, now.control_of) == ("half", case.control_of)
    assert read_record(job.record_path(case)) == now


def test_the_plan_shows_roles_and_reasons(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_bench.main([*ARGUMENTS, "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (order,) = [line for line in lines if "  order  " in line]
    assert "refused: prune cannot come after ptq" in order
    assert sum("stages cached" in line for line in lines) == 9
    assert lines[-1].startswith("10 cases, about ")


@pytest.mark.parametrize(
    ("role", "status", "code"),
    [
        ("asked", "ok", 0),
        ("asked", "refused", 1),
        ("asked", "failed", 1),
        ("small", "refused", 0),
        ("order", "refused", 0),
        ("small", "failed", 1),
    ],
)
def test_a_refused_control_is_no_failure_of_the_run(tmp_path, capsys, monkeypatch, role, status, code):
    fields = {"case_id": "a", "net": "n", "dataset": "d", "chain": "c", "label": "l", "seed": 0, "recipe": {}}
    record = RunRecord(**fields, status=status, reason="for a reason" * (status != "ok"), role=role)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.runner.Runner.run", lambda self: [record])
    monkeypatch.setattr("reports.draw", lambda *_, **__: None)
    monkeypatch.setattr("reports.terminal_table", lambda *_: "")
    assert run_bench.main([*ARGUMENTS, "--out", "run"]) == code
    told = "l (seed 0) " + f"{status}: for a reason" in capsys.readouterr().out
    assert told is (status != "ok")
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["cases"]
