"""Ctrl-C ends a run also where a library makes another error of it."""

import io
import pathlib

import pytest
import torch
from torch import nn

from baselines.snapshots import Running, save
from bench.casework import CaseWork
from bench.estimate import Meter, Narrator
from bench.measure import Server
from tests.test_runner_controls import Quiet, job_in


class Interrupted(io.RawIOBase):
    """A file at which Ctrl-C comes while it is written."""

    writes = 0

    def writable(self):
        return True

    def write(self, data):
        self.writes += 1
        if self.writes == 3:
            raise KeyboardInterrupt
        return len(data)


def test_an_interrupt_while_a_snapshot_is_written_is_one(tmp_path, monkeypatch):
    model = nn.Linear(300, 300)
    running = Running({}, model, nn.Identity(), torch.optim.SGD(model.parameters(), lr=0.1))
    monkeypatch.setattr(pathlib.Path, "open", lambda *_: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "snapshots" / "x.pt", running, [])
    assert not (tmp_path / "snapshots" / "x.pt").exists()


def hidden_in_context():
    try:
        raise KeyboardInterrupt
    finally:
        raise RuntimeError("unexpected pos 46 vs 0")


def hidden_in_cause():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as interrupt:
        raise RuntimeError("callback failed") from interrupt


@pytest.mark.parametrize("step", [hidden_in_context, hidden_in_cause])
def test_an_interrupt_that_an_error_hides_ends_the_run_and_is_no_failed_row(tmp_path, step):
    job = job_in(tmp_path)
    work = CaseWork(job, Narrator(Quiet(), Meter({})), Server(()))
    with pytest.raises(KeyboardInterrupt):
        work.attempt(job.plan.cases[0], step)


def test_an_error_of_its_own_is_a_failed_row(tmp_path):
    job = job_in(tmp_path)
    work = CaseWork(job, Narrator(Quiet(), Meter({})), Server(()))

    def step():
        try:
            raise ValueError("first")
        finally:
            raise RuntimeError("second")

    record = work.attempt(job.plan.cases[0], step)
    assert (record.status, record.reason.partition(" (")[0]) == ("failed", "RuntimeError: second")
