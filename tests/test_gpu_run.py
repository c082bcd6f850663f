"""A whole run on a GPU, and the command that does all that needs one."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.on_gpu import Stage, carry_out, stages
from bench.records import read_record

ROOT = Path(__file__).parents[1]
ON_GPU = {"gpu_memory_allocator", "energy"}


@pytest.mark.gpu
def test_rows_hold_what_their_device_used(tmp_path):
    command = [
        sys.executable, "run_bench.py", "--net", "lenet300", "--dataset", "digits", "--epochs", "2",
        "--finetune-epochs", "1", "--methods", "prune+ptq", "--no-controls", "--runtimes", "eager", "--device", "cuda",
        "--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [read_record(path) for path in (tmp_path / "run" / "records").glob("*.json")]
    assert len(records) == 2
    for record in records:
        (found,) = record.runtimes
        assert found.status == "ok"
        assert found.accuracy.correct > 0.8 * found.accuracy.seen
        assert {one.quantity for one in found.measurements} >= ON_GPU


# All that needs a GPU


def stage(name, code, limit_s=60.0):
    return Stage(name, ("-c", code), limit_s)


def results(out):
    return {one["name"]: one["ended"] for one in json.loads((out / "stages.json").read_text())}


def test_a_stage_that_fails_stops_no_other_and_its_end_is_shown(tmp_path):
    planned = [stage("bad", "print('first'); raise SystemExit('what | went wrong')"), stage("good", "print('fine')")]
    assert [one.ended for one in carry_out(planned, tmp_path, 1)] == [1, 0]
    page = (tmp_path / "summary.md").read_text()
    assert "what | went wrong" in page
    assert "| bad | failed with exit code 1 |" in page
    assert "| good | ok |" in page
    assert (tmp_path / "good.log").read_text() == "fine\n"


def test_a_stage_is_stopped_at_its_limit_by_an_interrupt_with_all_it_started(tmp_path):
    pids, child = tmp_path / "pid", "import time; time.sleep(90)"
    code = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"try: open({str(pids)!r}, 'w').write(str(p.pid)); time.sleep(90)\n"
        "except KeyboardInterrupt: print('kept'); sys.exit(130)"
    )
    begun = time.monotonic()
    (stopped,) = carry_out([stage("long", code, limit_s=4)], tmp_path, 1)
    assert time.monotonic() - begun < 40
    assert stopped.ended is None
    assert "kept" in (tmp_path / "long.log").read_text()
    assert (
        not Path(f"/proc/{pids.read_text()}/cmdline").is_file()
        or not Path(f"/proc/{pids.read_text()}/cmdline").read_bytes()
    )  # gone, or ended and not yet collected
    assert "stopped at its limit" in (tmp_path / "summary.md").read_text()


def test_what_is_finished_is_kept_what_is_not_or_has_changed_is_done_again(tmp_path):
    counted = f"open({str(tmp_path / 'times')!r}, 'a').write('%s')"
    first = [stage("a", counted % "a"), stage("b", counted % "b" + "; raise SystemExit(1)"), stage("c", counted % "c")]
    carry_out(first, tmp_path, 1)
    again = [first[0], first[1], stage("c", counted % "C")]
    assert [one.ended for one in carry_out(again, tmp_path, 1)] == [0, 1, 0]
    assert (tmp_path / "times").read_text() == "abcbC"


def test_no_stage_begins_when_time_is_up(tmp_path):
    planned = [stage("long", "import time; time.sleep(60)"), stage("late", "raise SystemExit('begun')")]
    assert [one.ended for one in carry_out(planned, tmp_path, 0.03)] == [None, None]
    assert not (tmp_path / "late.log").exists()
    assert "| late | not begun: no time was left |" in (tmp_path / "summary.md").read_text()
    assert results(tmp_path) == {"long": None, "late": None}


def test_small_and_full_stages_are_the_same_ones(tmp_path):
    full, small = (stages(tmp_path, tmp_path, small=small) for small in (False, True))
    assert [one.name for one in full] == [one.name for one in small]
    assert len({one.name for one in full}) == len(full)
    assert all(isinstance(value, str) for one in full for value in one.arguments)


@pytest.mark.parametrize("name", ["chains", "matrix"])
def test_runs_on_a_gpu_are_planned_without_a_mistake(tmp_path, name):
    """Their command lines are accepted as they stand, on a device and a data set that are here."""
    (found,) = [one for one in stages(tmp_path, tmp_path, small=False) if one.name == name]
    arguments = list(found.arguments)
    for option, value in (("--device", "cpu"), ("--dataset", "fake:size=32:channels=3:count=200")):
        arguments[arguments.index(option) + 1] = value
    done = subprocess.run([sys.executable, *arguments, "--plan"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "cases, about" in done.stdout
