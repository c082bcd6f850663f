"""A whole run on a GPU, and the command that does all that needs one."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import on_gpu
from bench.on_gpu import Place, Stage, code_at, place_of, stages
from bench.records import read_record

ROOT = Path(__file__).parents[1]
HERE = Place("full", "0123456789", "a GPU")
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


def carry_out(planned, out, minutes=1.0, place=HERE):
    return on_gpu.carry_out(planned, out, minutes, place)


def counting(path, what, then=""):
    """Code that leaves a mark each time that it runs."""
    return f"open({str(path)!r}, 'a').write({what!r}); {then}"


def lives(pid):
    """Whether a process runs: one that ended and is not yet collected has no command line."""
    path = Path(f"/proc/{pid}/cmdline")
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def results(out):
    return {one["name"]: one["ended"] for one in json.loads((out / "stages.json").read_text())}


def test_a_stage_that_fails_stops_no_other_and_its_end_is_shown(tmp_path):
    planned = [stage("bad", "print('first'); raise SystemExit('what | went wrong')"), stage("good", "print('fine')")]
    assert [one.ended for one in carry_out(planned, tmp_path)] == [1, 0]
    page = (tmp_path / "summary.md").read_text()
    assert "what | went wrong" in page
    assert "| bad | failed with exit code 1 |" in page
    assert "| good | ok |" in page
    assert (tmp_path / "good.log").read_text() == "fine\n"


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])  # in front, in the background
def test_a_stage_is_stopped_at_its_limit_by_an_interrupt_with_all_it_started(tmp_path, handler):
    pids, child = tmp_path / "pid", "import time; time.sleep(90)"
    code = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"try: open({str(pids)!r}, 'w').write(str(p.pid)); time.sleep(90)\n"
        "except KeyboardInterrupt: print('kept'); sys.exit(130)"
    )
    begun, before = time.monotonic(), signal.signal(signal.SIGINT, handler)
    try:
        (stopped,) = carry_out([stage("long", code, limit_s=4)], tmp_path)
        assert signal.getsignal(signal.SIGINT) == handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < 40
    assert stopped.ended is None
    assert "kept" in (tmp_path / "long.log").read_text()
    assert not lives(pids.read_text())
    assert "stopped at its limit" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("waits", [True, False])
def test_what_a_stage_started_ends_with_it_though_it_ignores_the_interrupt(tmp_path, waits):
    pids = tmp_path / "pid"
    child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(90)"
    code = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=-1)\n"
        f"p.stdout.readline(); open({str(pids)!r}, 'w').write(str(p.pid)); time.sleep({90 * waits})"
    )
    (outcome,) = carry_out([stage("long", code, limit_s=4 if waits else 60)], tmp_path)
    assert outcome.ended == (None if waits else 0)
    latest = time.monotonic() + 10  # the kernel takes its time to end a process
    while lives(pids.read_text()) and time.monotonic() < latest:
        time.sleep(0.05)
    assert not lives(pids.read_text())


def test_what_is_finished_is_kept_what_is_not_or_has_changed_is_done_again(tmp_path):
    def planned(last):
        codes = {"a": "", "b": "raise SystemExit(1)", "c": ""}
        return [
            stage(name, counting(tmp_path / "times", last if name == "c" else name, then))
            for name, then in codes.items()
        ]

    carry_out(planned("c"), tmp_path)
    assert [one.ended for one in carry_out(planned("C"), tmp_path)] == [0, 1, 0]
    assert (tmp_path / "times").read_text() == "abcbC"


@pytest.mark.parametrize("changed", [{"mode": "small"}, {"code": "another commit"}, {"gpu": "another GPU"}])
def test_a_stage_is_kept_for_its_size_code_and_gpu_alone(tmp_path, changed):
    planned, there = [stage("a", counting(tmp_path / "times", "a"))], dataclasses.replace(HERE, **changed)
    for place, times in ((there, "a"), (HERE, "aa"), (HERE, "aa")):
        carry_out(planned, tmp_path, place=place)
        assert (tmp_path / "times").read_text() == times
        assert place.text in (tmp_path / "summary.md").read_text()


def test_code_is_known_by_its_commit_and_by_what_is_not_committed(tmp_path):
    def git(*arguments):
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True
        )

    assert code_at(tmp_path) == "an unknown commit"
    git("init", "-q")
    found = []
    for text in ("first", "second", "third"):
        (tmp_path / "file").write_text(text)
        if text == "first":
            git("add", "file")
            git("commit", "-q", "-m", text)
        found.append(code_at(tmp_path))
    assert len(set(found)) == 3
    assert [one.startswith(f"{found[0]} with uncommitted changes ") for one in found] == [False, True, True]


def test_small_and_full_are_different_places_and_folders(tmp_path, monkeypatch):
    assert place_of(small=True) == dataclasses.replace(place_of(small=False), mode="small")
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_gpu, "_unfit", lambda typed: None)
    monkeypatch.setattr(on_gpu, "carry_out", lambda planned, out, minutes, place: seen.append((str(out), place)) or [])
    for arguments in ([], ["--small"], ["--small", "--out", "here"]):
        monkeypatch.setattr(sys, "argv", ["bench.on_gpu", *arguments])
        assert on_gpu.main() == 0
    assert [out for out, _ in seen] == ["runs/on_gpu", "runs/on_gpu_small", "here"]
    assert [place.mode for _, place in seen] == ["full", "small", "small"]


@pytest.mark.parametrize(
    ("skipped", "gpu", "text", "well"),
    [
        (2, "a GPU", "nothing ran: every test was skipped", False),
        (2, "no GPU", "nothing ran: every test was skipped", True),
        (1, "a GPU", "ok", True),
    ],
)
def test_tests_that_were_all_skipped_are_not_called_ok(tmp_path, skipped, gpu, text, well):
    cases = f'@pytest.mark.parametrize("i", [0, 1])\ndef test_it(i):\n    if i < {skipped}: pytest.skip()\n'
    (tmp_path / "test_it.py").write_text(f"import pytest\n{cases}")
    arguments = ("-m", "pytest", str(tmp_path), "-p", "no:cacheprovider", "--junitxml", str(tmp_path / "tests.xml"))
    planned = [Stage("tests", arguments, 60, tmp_path / "tests.xml")]
    (outcome,) = carry_out(planned, tmp_path, place=dataclasses.replace(HERE, gpu=gpu))
    assert (outcome.ended, outcome.text, outcome.well) == (0, text, well)
    assert f"| tests | {text} |" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("text", ["", '[{"name": "a", "argu', "{}", "[1]", '[{"name": "a", "arguments": []}]'])
def test_outcomes_that_cannot_be_read_are_told_and_all_begins_afresh(tmp_path, capsys, text):
    (tmp_path / "stages.json").write_text(text)
    carry_out([stage("a", "pass")], tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert [line.endswith("every stage is done again") for line in said if "cannot be read" in line] == (
        [] if text == "{}" else [True]
    )
    assert results(tmp_path) == {"a": 0}


def test_a_kill_while_outcomes_are_written_leaves_those_before(tmp_path, monkeypatch):
    carry_out([stage("a", "pass")], tmp_path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.records.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        carry_out([stage("a", "pass"), stage("b", "pass")], tmp_path)
    assert results(tmp_path) == {"a": 0}


def test_no_stage_begins_when_time_is_up(tmp_path):
    planned = [stage("long", "import time; time.sleep(60)"), stage("late", "raise SystemExit('begun')")]
    assert [one.ended for one in carry_out(planned, tmp_path, 0.03)] == [None, None]
    assert not (tmp_path / "late.log").exists()
    assert "| late | not begun: no time was left |" in (tmp_path / "summary.md").read_text()
    assert results(tmp_path) == {"long": None, "late": None}


def test_small_and_full_stages_are_the_same_ones_but_for_the_sanitizer(tmp_path):
    full, small = (stages(tmp_path, tmp_path, small=small) for small in (False, True))
    assert [one.name for one in full] == [*(one.name for one in small), "sanitizer"]
    for planned in (full, small):
        assert len({one.name for one in planned}) == len({one.arguments for one in planned}) == len(planned)
        assert all(isinstance(value, str) for one in planned for value in one.arguments)


def test_the_tests_are_those_for_a_gpu_but_the_sanitizers(tmp_path):
    (found,) = [one for one in stages(tmp_path, tmp_path, small=False) if one.name == "tests"]
    arguments = ["tests/test_kernels.py" if one == "tests" else one for one in found.arguments]
    command = [sys.executable, *arguments, "--collect-only"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_every_variant_agrees_with_its_reference" in done.stdout
    assert "compute_sanitizer" not in done.stdout


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
