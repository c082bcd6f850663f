"""Runs whose networks are trained by two processes together: rows, reasons, resumption, and how all of it ends."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import run_bench
from baselines.errors import UsageError
from bench.command import parse_command
from bench.estimate import Meter, Narrator
from bench.inputs import make_job
from bench.records import read_record
from bench.stages import stages
from methods import METHODS
from methods.base import Refused
from tests.test_choosing import Quiet
from tests.test_command import FEW_THREADS
from tests.test_supervisor import gone

ROOT = Path(__file__).parents[1]
TWO = ["--device", "cpu", "--processes", "2"]
FAKE = ["--net", "lenet", "--dataset", "fake:count=600:size=16:channels=1", "--no-controls", "--runtimes", "eager"]
CHAIN, FEW = "distill:student=student1+prune+qat", "distill:student=student1:subset=0.005"
KILLED = "prune:sparsity=0.5:schedule=gradual"
RUN = ["--net", "student1", "--dataset", "digits:train=500", "--epochs", "6", "--finetune-epochs", "12",
       "--methods", f"{CHAIN},{FEW},{KILLED},half", "--no-controls", "--runtimes", "eager",
       "--out", "run", "--cache", "nets"]  # fmt: skip


def job_of(*arguments):
    return make_job(parse_command(arguments), METHODS, print)


def rows_of(run):
    return {one.label: one for one in map(read_record, (run / "records").iterdir())}


def below(pid):
    """All processes that have come from one, however far down."""
    children = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text().split()]
    return [*children, *(found for child in children for found in below(child))]


def is_rank(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return b"bench.ranks.rank" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


def training(pid, snapshot):
    """Waits until the ranks below a process have trained another epoch of what keeps that snapshot; their ids."""
    deadline, since = time.monotonic() + 600, time.time_ns()
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if snapshot.stat().st_mtime_ns > since:
                return sorted(one for one in below(pid) if is_rank(one))
        time.sleep(0.01)
    raise AssertionError("no training came under way")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run in which a rank was killed in the middle of an epoch: its folder and the ranks of that moment."""
    folder, ranks = tmp_path_factory.mktemp("ranks"), []
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        snapshot = folder / snapshot_of(KILLED)  # here: two threads cannot trace networks at once

        def kill():
            ranks.extend(training(os.getpid(), snapshot))
            os.kill(ranks[1], signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert run_bench.main([*RUN, *TWO]) == run_bench.SOME_FAILED
        killer.join(timeout=10)
    return folder, ranks


def snapshot_of(label):
    (case,) = (case for case in job_of(*RUN, *TWO).plan.cases if case.label == label)
    return Path("nets", "snapshots", f"{case.stage_ids[-1]}.0.pt")


def test_a_chain_that_trains_thrice_runs_as_with_one_process(finished):
    rows = rows_of(finished[0] / "run")
    dense, chained = rows["dense"], rows[CHAIN]
    assert {dense.status, chained.status} == {"ok"}
    assert {log.processes for row in rows.values() for log in row.training} == {2}
    began = [log.stage for log in chained.training if log.epoch == 1]
    assert began == ["dense", "distill:student=student1", "distill:student=student1+prune", CHAIN]
    assert len(chained.training) == 6 + 6 + 12 + 12
    for row, least in ((dense, 0.8), (chained, 0.7)):
        assert row.runtimes[0].accuracy.correct / row.runtimes[0].accuracy.seen > least
    assert "by 2 processes together" in (finished[0] / "run" / "report.md").read_text()


def test_a_method_is_refused_for_the_reason_that_one_process_gives(finished, monkeypatch):
    monkeypatch.chdir(finished[0])
    job = job_of(*RUN)
    (case,) = (case for case in job.plan.cases if case.label == FEW)
    with pytest.raises(Refused) as alone:
        stages(job, case, Narrator(Quiet(), Meter({})))
    row = rows_of(Path("run"))[FEW]
    assert (row.status, row.reason) == ("refused", str(alone.value))


def test_a_rank_that_is_killed_is_one_failed_row(finished):
    folder, ranks = finished
    rows = rows_of(folder / "run")
    assert rows[KILLED].status == "failed"
    assert "of 2 ended: SIGKILL (killed, most often because memory ran out)" in rows[KILLED].reason
    assert rows["half"].status == "ok", "the others go on"
    assert len(ranks) == 2
    assert all(gone(pid) for pid in ranks)


def test_ranks_end_with_who_asked_for_them_and_the_same_command_goes_on(finished, monkeypatch):
    """Ended by Ctrl-C, then by a kill of the whole command's first process, then left alone."""
    monkeypatch.chdir(finished[0])
    line = [sys.executable, str(ROOT / "run_bench.py"), *RUN, *TWO]
    for number, code in ((signal.SIGINT, run_bench.INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and pass that on
        try:
            process = subprocess.Popen(line, env=FEW_THREADS, stdout=subprocess.PIPE, text=True)
        finally:
            signal.signal(signal.SIGINT, before)
        with process:
            ranks = training(process.pid, Path(snapshot_of(KILLED)))
            assert len(ranks) == 2
            family = below(process.pid)
            assert len(family) >= 4, "the worker, what starts the ranks, and those"
            process.send_signal(number)
            assert all(gone(pid) for pid in family), "within ten seconds"
            said = process.communicate(timeout=10)[0]
            assert process.returncode == code
            assert ("finished cases and epochs are kept in run" in said) == (number == signal.SIGINT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    kept = [log["seconds"] for log in torch.load(snapshot_of(KILLED))["logs"]]
    assert run_bench.main([*RUN, *TWO]) == run_bench.SOME_FAILED
    row = rows_of(Path("run"))[KILLED]
    assert row.status == "ok"
    epochs = [log for log in row.training if log.stage != "dense"]
    assert [log.epoch for log in epochs] == list(range(1, 13))
    assert [log.seconds for log in epochs[: len(kept)]] == kept, "those that were whole are not trained again"


def test_results_of_several_processes_are_others_and_of_one_those_of_before(tmp_path):
    asked = [*FAKE, "--methods", "prune,prune+ptq", "--device", "cpu", "--cache", str(tmp_path)]
    before, one, two, three = (
        job_of(*asked, *more) for more in ([], *(["--processes", str(count)] for count in (1, 2, 3)))
    )
    assert before.plan.cases[0].source.device == "cpu"
    assert before.plan.id == one.plan.id
    ids = [{name for case in job.plan.cases for name in (case.id, *case.stage_ids)} for job in (one, two, three)]
    assert sum(map(len, ids)) == len(set.union(*ids))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--processes", "0"], "--processes must be 1 or more, got 0"),
        (["--processes", "2", "--device", "auto"], "torch finds no GPU here; to share the processor's cores add"),
        (["--processes", "2", "--device", "cuda:1"], r"--device cuda(:1)?"),
        (["--processes", "2", "--device", "cpu", "--batch-size", "3"], "batches of 3 images, two at least for each"),
    ],
)
def test_processes_that_cannot_be_had_are_told_in_one_line(more, says, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match=says) as caught:
        job_of(*FAKE, *more)
    assert "\n" not in str(caught.value)


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    with pytest.raises(UsageError, match="--processes 4 needs as many GPUs, and torch finds 3"):
        job_of(*FAKE, "--processes", "4")
    with pytest.raises(UsageError, match="write --device cuda; CUDA_VISIBLE_DEVICES says which"):
        job_of(*FAKE, "--processes", "2", "--device", "cuda:1")
    job = job_of(*FAKE, "--processes", "3")
    assert job.plan.cases[0].source.device == "cuda x3"
    alone = job_of(*FAKE)
    assert job.sizes.train_s(9) < alone.sizes.train_s(9)
