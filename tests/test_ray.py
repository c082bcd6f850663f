"""A real Ray on this machine: a worker killed mid-case, the driver killed and started again, and equal results."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from baselines.errors import UsageError

pytest.importorskip("ray", reason="Ray is an extra: pip install -r requirements-extra.txt")
ROOT = Path(__file__).parents[1]
COMMAND = [
    sys.executable, str(ROOT / "run_bench.py"), "--net", "lenet300", "--dataset", "digits", "--epochs", "30",
    "--finetune-epochs", "8", "--methods", "prune+ptq,dct:keep=0.25", "--no-controls", "--runtimes", "eager",
]  # fmt: skip
ON_RAY = ["--ray", "--needs", "cpus=1,memory=1GB"]
LATEST_S = 240
CLOCKED = {"environment", "compress_s"}  # what two runs of a case differ in


def started(folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    environment.pop("RAY_ADDRESS", None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and pass that on
    try:
        return subprocess.Popen([*COMMAND, *arguments], cwd=folder, env=environment, text=True, bufsize=1,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def processes_in(folder, begins=""):
    """Process ids by command line of what runs in `folder` and is called so, but for Ray's own agents: after a kill of
    the driver those end at a time of their own."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == folder:
                name = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if name.startswith(begins) and not re.fullmatch(r"ray::\w+Agent", name):
                    found[int(entry.name)] = name
    return found


def until(what, condition):
    latest = time.monotonic() + LATEST_S
    while not (found := condition()):
        assert time.monotonic() < latest, f"in vain: {what}"
        time.sleep(0.02)
    return found


def results(folder):
    """All that two runs of the same cases have in common, by case."""
    found = {}
    for path in (folder / "run" / "records").glob("*.json"):
        record = {name: value for name, value in json.loads(path.read_text()).items() if name not in CLOCKED}
        record["training"] = [{**epoch, "seconds": None} for epoch in record["training"]]
        record["runtimes"] = [(one["runtime"], one["status"], one["accuracy"]) for one in record["runtimes"]]
        found[path.stem] = record
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    run = started(folder, "--out", "run", "--cache", "cache")
    out, _ = run.communicate(timeout=LATEST_S)
    assert run.returncode == 0, out
    return results(folder)


def test_what_is_killed_goes_on_and_results_are_those_of_a_local_run(tmp_path, local):
    typed = ["--out", "run", "--cache", "cache", *ON_RAY]
    first = started(tmp_path, *typed)
    # a worker, in the middle of dense training
    until("a snapshot", lambda: first.poll() is not None or list((tmp_path / "cache").glob("snapshots/*.pt")))
    (worker,) = until("the worker", lambda: processes_in(tmp_path, "ray::make"))
    os.kill(worker, signal.SIGKILL)
    lines = []
    while not any("it runs again" in line for line in lines):
        line = first.stdout.readline()
        assert line, lines
        lines.append(line)
    (lost,) = [line for line in lines if "it runs again" in line]
    assert (
        lost
        == "dense: lost while it was made (The worker died unexpectedly while executing this task); it runs again\n"
    )
    assert not [line for line in lines if "raylet" in line or "\x1b" in line]
    # the driver, between two cases; it starts again at once, while Ray still ends what the first one had started
    until("a record", lambda: first.poll() is not None or list((tmp_path / "run").glob("records/*.json")))
    assert first.poll() is None
    first.kill()
    first.communicate()

    second = started(tmp_path, *typed)
    out, _ = second.communicate(timeout=LATEST_S)
    assert second.returncode == 0, out
    assert "dense: " in out
    assert "(kept from before)" in out
    assert "lost while" not in out
    assert results(tmp_path) == local
    assert len(local) == 3
    dense = next(one for one in local.values() if one["chain"] == "dense")
    assert [epoch["epoch"] for epoch in dense["training"]] == list(range(1, 31))
    assert (tmp_path / "run" / "report.html").is_file()
    assert not list(tmp_path.rglob(".of-the-driver*"))
    until("the end of all its processes", lambda: not processes_in(tmp_path))


def test_an_interrupt_says_what_is_kept_and_leaves_nothing_behind(tmp_path):
    run = started(tmp_path, "--out", "run", "--cache", "cache", *ON_RAY)
    until("a snapshot", lambda: run.poll() is not None or list((tmp_path / "cache").glob("snapshots/*.pt")))
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=LATEST_S)
    assert run.returncode == 130, out
    assert "interrupted: finished cases and epochs are kept in run; the same command goes on from there" in out
    assert "Traceback" not in out
    until("the end of all its processes", lambda: not processes_in(tmp_path))


def test_on_gpus_each_task_has_a_process_of_its_own(monkeypatch):
    """What torch holds of a GPU is given back, and no process goes on with the GPU that is now another's."""
    import ray

    from bench.cluster import node as on_node
    from bench.cluster.hands import Hands, Task
    from bench.cluster.needs import Needs

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # other tests run beside this one
    monkeypatch.setattr(on_node, "unfit", lambda _: "")

    def process(*_):
        return os.getpid()

    ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level=40)
    try:
        hands = Hands(Needs(1, 1, 10**8), make=process, measure=process)
        hands.take_up(None)
        case = SimpleNamespace(id="a case")
        for step in ("make", "measure") * 2:
            hands.start(Task(step, case), on_node.Share(case.id, 1.0, 0.0))
        came = []
        while hands.running:
            came += [pid for _, pid in hands.wait()]
        # a machine that does not answer is told, in words of ours
        monkeypatch.setattr(on_node, "unfit", lambda _: time.sleep(20) or "")
        monkeypatch.setattr("bench.cluster.hands._CHECK_S", 1.0)
        with pytest.raises(UsageError, match=r"cannot take part: it has not answered within 1 s: see whether"):
            Hands(Needs(1, 1, 10**8), make=process, measure=process).take_up(None)
    finally:
        ray.shutdown()
    assert len(set(came)) == len(came) == 4
