"""A run in a process of its own: what ends the process is told of the case that was under way, and of it alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.records import read_record
from bench.supervisor import ending, supervise
from tests.test_command import FEW_THREADS
from tests.test_faults import SHORT

ROOT = Path(__file__).parents[1]
WORKER = """if True:
    import os, signal, sys, time
    sys.path.insert(0, {root!r})
    from bench import supervisor
    supervisor.follow_supervisor()
    log = open({log!r}, "a")
    for case in ("a", "b", "c"):
        supervisor.begin(case)
        why = supervisor.why_blamed(case)
        print(os.getpid(), case, why or "", file=log, flush=True)
        if not why:
            {body}
        supervisor.begin("")
    sys.exit(1)
    """


def worker(tmp_path: Path, body: str) -> list[str]:
    return [sys.executable, "-c", WORKER.format(root=str(ROOT), log=str(tmp_path / "log"), body=body)]


def lines(tmp_path: Path) -> list[list[str]]:
    return [line.split(maxsplit=2) for line in (tmp_path / "log").read_text().splitlines()]


def test_the_exit_code_is_the_workers(tmp_path):
    said = []
    assert supervise(worker(tmp_path, "pass"), said.append) == 1
    assert [line[1] for line in lines(tmp_path)] == ["a", "b", "c"]
    assert said == []


def test_a_case_that_kills_its_process_is_left_out_and_the_others_go_on(tmp_path):
    said = []
    assert (
        supervise(worker(tmp_path, "if case != 'b': continue\n            os.kill(os.getpid(), 9)"), said.append) == 1
    )
    found = lines(tmp_path)
    assert [line[1] for line in found] == ["a", "b", "a", "b", "c"]
    assert len({line[0] for line in found}) == 2
    assert found[3][2] == "the process that worked on it ended: SIGKILL (killed, most often because memory ran out)"
    assert said == [f"the process that worked on case b ended: {ending(9)}; going on with the others"]


def test_several_cases_may_kill_their_process_each_in_its_own_way(tmp_path):
    said = []
    kill = "os.kill(os.getpid(), dict(a=9, c=11).get(case, 0))"
    assert supervise(worker(tmp_path, kill), said.append) == 1
    assert [(line[1], line[2].split("(")[0].split()[-1]) for line in lines(tmp_path)[-3:] if len(line) > 2] == [
        ("a", "SIGKILL"), ("c", "SIGSEGV"),
    ]  # fmt: skip
    assert len(said) == 2


def test_it_ends_where_no_worker_comes_further_than_the_one_before(tmp_path):
    said = []
    between = "supervisor.begin(''); os.kill(os.getpid(), 9)"
    assert supervise(worker(tmp_path, between), said.append) == 128 + signal.SIGKILL
    kept = "what is finished is kept, and the same command goes on from there"
    assert said == [
        f"the process that was between two cases ended: {ending(9)}; going on with the others",
        f"the process ended: {ending(9)}; {kept}",
    ]
    assert len(lines(tmp_path)) == 2


def test_it_ends_where_a_worker_does_not_even_begin(tmp_path):
    said = []
    line = [
        sys.executable,
        "-c",
        f"open({str(tmp_path / 'log')!r}, 'a').write('x'); import os; os.kill(os.getpid(), 9)",
    ]
    assert supervise(line, said.append) == 128 + signal.SIGKILL
    assert (tmp_path / "log").read_text() == "x"
    assert [line.partition(";")[0] for line in said] == [f"the process ended: {ending(9)}"]


def test_a_signal_that_a_person_sends_ends_it(tmp_path):
    said = []
    assert supervise(worker(tmp_path, "os.kill(os.getpid(), signal.SIGTERM)"), said.append) == 128 + signal.SIGTERM
    assert said == []


def supervisor_of(tmp_path: Path, body: str) -> subprocess.Popen[bytes]:
    """A supervisor in a process, whose worker has begun."""
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from bench.supervisor import supervise
        sys.exit(supervise({worker(tmp_path, body)!r}, print))
        """
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "log").is_file() or not (tmp_path / "log").read_text():
        time.sleep(0.02)
    return process


def gone(process_id: int) -> bool:
    for _ in range(500):
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("twice", [False, True])
def test_control_c_reaches_the_worker_once(tmp_path, twice):
    """From a terminal, which sends it to both, and from a program, which sends it to one."""
    body = """
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                time.sleep(0.5)
                sys.exit(130)"""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and pass that on
    try:
        process = supervisor_of(tmp_path, body)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        time.sleep(0.1)
        for target in (int(lines(tmp_path)[0][0]), process.pid)[1 - twice :]:
            os.kill(target, signal.SIGINT)
        assert process.wait(timeout=10) == 130
    assert len(lines(tmp_path)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_supervisor(tmp_path, number):
    with supervisor_of(tmp_path, "time.sleep(600)") as process:
        process.send_signal(number)
        assert gone(int(lines(tmp_path)[0][0]))
        assert process.wait(timeout=10) == (-number if number == signal.SIGKILL else 128 + number)


def test_a_run_whose_process_is_killed_goes_on_without_that_case(tmp_path):
    """The whole command, killed as the kernel kills what takes too much memory."""
    chains = "prune:sparsity=0.5,prune:sparsity=0.9"
    line = [sys.executable, str(ROOT / "run_bench.py"), *SHORT[:-4], "--methods", chains, "--runtimes", "eager",
            "--out", "run"]  # fmt: skip
    with subprocess.Popen(line, cwd=tmp_path, env=FEW_THREADS, stdout=subprocess.PIPE, text=True) as process:
        said = ""
        for text in process.stdout:
            said += text
            if text.startswith("[1/3]") and "correct" in text:  # dense is done
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                assert len(children) == 1
                time.sleep(0.3)  # the next case has begun
                most = Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
                assert int(most) < 100_000, "kB: it has no part in the work"
                os.kill(int(children[0]), signal.SIGKILL)
                break
        said += process.stdout.read()
    assert process.returncode == 1, said
    records = {one.label: one for one in map(read_record, (tmp_path / "run" / "records").iterdir())}
    assert {label: one.status for label, one in records.items()} == {
        "dense": "ok", "prune:sparsity=0.5": "failed", "prune:sparsity=0.9": "ok",
    }  # fmt: skip
    assert "SIGKILL (killed, most often because memory ran out)" in records["prune:sparsity=0.5"].reason
    assert "going on with the others" in said
    again = subprocess.run(line, cwd=tmp_path, env=FEW_THREADS, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("kept from before") == 2
