"""The processes that measure: they can die, hang and chatter, and the parent says what happened."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from baselines.errors import UsageError
from bench.measure import process
from bench.measure.messages import MemoryAnswer, MemoryRequest, UsageAnswer, read_message, say, write_message
from bench.measure.process import MeasureError, ask, last_words


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts a script of the test's in the place of the worker."""

    def put(code: str) -> None:
        package = tmp_path / "bench" / "measure"
        package.mkdir(parents=True)
        (package.parent / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(code)
        monkeypatch.setattr(process, "_ROOT", tmp_path)

    return put


REQUEST = MemoryRequest("eager", "nowhere.nnc", None, (1, 4, 4), 2, 1, "cpu", None)


def ask_quietly(**options: Any) -> Any:
    return ask(REQUEST, progress=lambda text: None, **{"timeout_s": 30.0, **options})


@pytest.mark.parametrize("code", ["import os; os.abort()", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_crash_names_the_signal(code: str, stand_in: Callable[[str], None]) -> None:
    stand_in(code)
    with pytest.raises(MeasureError, match=r"was killed by SIG(ABRT|KILL)"):
        ask_quietly()


def test_an_exception_is_told_by_its_last_line(stand_in: Callable[[str], None]) -> None:
    stand_in("raise LookupError('planted')")
    with pytest.raises(MeasureError, match=r"ended with code 1: .*LookupError: planted$"):
        ask_quietly()


def test_no_answer_is_an_error_even_if_the_process_ends_well(stand_in: Callable[[str], None]) -> None:
    stand_in("")
    with pytest.raises(MeasureError, match="ended with code 0: it said nothing"):
        ask_quietly()


def test_what_takes_too_long_is_stopped_with_its_children(stand_in: Callable[[str], None], tmp_path: Path) -> None:
    stand_in(
        "import subprocess, sys, pathlib, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    begin = time.monotonic()
    with pytest.raises(MeasureError, match=r"took longer than 1.5 s and was stopped"):
        ask_quietly(timeout_s=1.5)
    assert time.monotonic() - begin < 20
    assert_ends(int((tmp_path / "pid").read_text()))


def assert_ends(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} still runs")


def test_progress_is_passed_on_and_noise_is_not(stand_in: Callable[[str], None]) -> None:
    stand_in(
        "import sys, json, os\n"
        "print('some library says hello')\nprint('@progress accuracy eager')\nprint('@progress latency')\n"
        "print('x' * 300_000, file=sys.stderr)\n"
        "content = {'measurements': [], 'reason': os.environ['OMP_NUM_THREADS']}\n"
        "open(sys.argv[2], 'w').write(json.dumps({'kind': 'MemoryAnswer', 'content': content}))\n"
    )
    texts: list[str] = []
    assert ask(REQUEST, progress=texts.append, timeout_s=30) == MemoryAnswer((), "1")
    assert texts == ["accuracy eager", "latency"]


def test_what_the_person_can_mend_comes_back_as_such(stand_in: Callable[[str], None], tmp_path: Path) -> None:
    write_message(UsageAnswer("the file is damaged: make it again"), tmp_path / "answer.json")
    stand_in(f"import shutil, sys; shutil.copy({str(tmp_path / 'answer.json')!r}, sys.argv[2])")
    with pytest.raises(UsageError, match="the file is damaged: make it again"):
        ask_quietly()


def test_the_worker_ends_when_its_parent_does() -> None:
    code = "from bench.measure.__main__ import end_with_parent; import time; end_with_parent(0); time.sleep(60)"
    root = Path(process.__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=root) as worker:
        assert worker.stdin is not None
        worker.stdin.close()  # what the system does when the parent is killed
        assert worker.wait(timeout=20) == 1


# The server


SERVER = """
import os, sys, time
sys.path[:0] = [{root!r}]
from bench.measure import server
from bench.measure.messages import MemoryAnswer
def answer_to(request):
{code}
def preload(names):
    open({log!r}, "a").write(f"{{os.getpid()}}\\n")
    {preload}
server.answer_to, server.preload = answer_to, preload
server.main()
"""


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., process.Server]:
    """A server that answers by a function of the test's."""

    def put(code: str, preload: str = "") -> process.Server:
        root = str(Path(process.__file__).resolve().parents[2])
        body = "\n".join(f"    {line}" for line in code.splitlines())
        (tmp_path / "planted.py").write_text(
            SERVER.format(root=root, code=body, log=str(tmp_path / "servers"), preload=preload)
        )
        monkeypatch.setattr(process, "_ROOT", tmp_path)
        monkeypatch.setattr(process, "_SERVER", "planted")
        return process.Server(["eager"])

    return put


def servers(tmp_path: Path) -> list[int]:
    return [int(line) for line in (tmp_path / "servers").read_text().split()]


BY_REQUEST = """
threads = os.listdir("/proc/self/task")
variables = [os.environ.get(name) for name in ("THP_MEM_ALLOC_ENABLE", "GOMP_SPINCOUNT")]
done = MemoryAnswer((), f"{os.getppid()} {len(threads)} {variables}")
if request.batch == 0: os.abort()
if request.batch == 1: raise LookupError("planted")
if request.batch == 2: print("no new line at the end", end=""); return done
if request.batch == 3: print("@progress latency"); return done
if request.batch == 4:
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open("pid", "w").write(str(child.pid))
    time.sleep(60)
"""


def test_a_server_outlives_what_it_forks_and_tells_how_each_ended(
    serving: Callable[..., process.Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "1")  # as the command sets it: not for what is measured
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")  # a person's own
    texts: list[str] = []

    def put(kind: int, timeout_s: float = 30.0) -> Any:
        request = dataclasses.replace(REQUEST, batch=kind)
        return ask(request, progress=texts.append, timeout_s=timeout_s, server=server)

    with serving(BY_REQUEST) as server:
        with pytest.raises(MeasureError, match=r"was killed by SIGABRT"):
            put(0)
        with pytest.raises(MeasureError, match=r"ended with code 1: .*LookupError: planted$"):
            put(1)
        answers = [put(2), put(3)]
        with pytest.raises(MeasureError, match=r"took longer than 1.5 s and was stopped"):
            put(4, 1.5)
        assert_ends(int((tmp_path / "pid").read_text()))
        answers.append(put(2))
    assert texts == ["latency"]
    (one,) = servers(tmp_path)  # one server for all
    assert {answer.reason for answer in answers} == {
        f"{one} 2 [None, '7']"
    }  # the second thread waits for the parent's end
    assert_ends(one)


def test_a_server_that_dies_is_an_error_of_one_request(serving: Callable[..., process.Server], tmp_path: Path) -> None:
    with serving("os.kill(os.getppid(), 9)\ntime.sleep(60)") as server:
        for _ in range(2):
            with pytest.raises(MeasureError, match="was killed by SIGKILL"):
                ask_quietly(server=server)
    assert len(servers(tmp_path)) == 2
    planted = pytest.raises(MeasureError, match=r"ended with code 1: .*LookupError: planted$")
    with serving("pass", preload="raise LookupError('planted')") as server, planted:
        ask_quietly(server=server)


def test_a_closed_server_ends_what_it_forked(serving: Callable[..., process.Server], tmp_path: Path) -> None:
    server = serving("open('pid', 'w').write(str(os.getpid()))\nprint('@progress on', flush=True)\ntime.sleep(60)")

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(REQUEST, progress=interrupt, timeout_s=30, server=server)
    assert_ends(int((tmp_path / "pid").read_text()))
    assert_ends(servers(tmp_path)[0])


def test_the_server_ends_with_its_parent_and_so_does_what_it_forked(
    serving: Callable[..., process.Server], tmp_path: Path
) -> None:
    serving("open('pid', 'w').write(str(os.getpid()))\nprint('@progress on', flush=True)\ntime.sleep(60)")
    parent = f"""
import os, sys
sys.path.insert(0, {str(Path(process.__file__).resolve().parents[2])!r})
sys.path.insert(0, {str(Path(__file__).resolve().parent)!r})
from pathlib import Path
from bench.measure import process
from bench.measure.messages import MemoryRequest
process._ROOT, process._SERVER = Path({str(tmp_path)!r}), "planted"
request = MemoryRequest("eager", "nowhere.nnc", None, (1, 4, 4), 2, 1, "cpu", None)
process.ask(request, progress=lambda text: os.kill(os.getpid(), 9), timeout_s=30, server=process.Server(["eager"]))
"""
    assert subprocess.run([sys.executable, "-c", parent], check=False).returncode == -9
    assert_ends(int((tmp_path / "pid").read_text()))
    assert_ends(servers(tmp_path)[0])


def test_a_server_that_still_starts_ends_with_its_parent(
    serving: Callable[..., process.Server], tmp_path: Path
) -> None:
    serving("pass", preload="time.sleep(60)")
    parent = f"""
import os, sys, time
sys.path.insert(0, {str(Path(process.__file__).resolve().parents[2])!r})
from pathlib import Path
from bench.measure import process
process._ROOT, process._SERVER = Path({str(tmp_path)!r}), "planted"
process.Server(["eager"])._started(1, Path({str(tmp_path)!r}, "complaint"))
while not Path({str(tmp_path)!r}, "servers").exists(): time.sleep(0.02)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", parent], check=False).returncode == -9
    assert_ends(servers(tmp_path)[0])


def test_what_is_preloaded_starts_no_thread() -> None:
    """None but numpy's, which its library takes down before a fork and brings up again."""
    code = (
        "import os; from bench.measure.server import preload\n"
        "preload(['eager', 'onnxruntime', 'inductor', 'no such runtime'])\n"
        "import sys; print(len(os.listdir('/proc/self/task')), 'torch._dynamo' in sys.modules)"
    )
    root, alone = Path(process.__file__).resolve().parents[2], {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=alone, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True"]


def test_messages_survive_their_file(tmp_path: Path) -> None:
    write_message(REQUEST, tmp_path / "message.json")
    assert read_message(tmp_path / "message.json") == REQUEST


def test_last_words_are_the_last_lines_that_say_something(tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    path.write_text("one\n\n two \nthree\n\n")
    assert last_words(path) == "two / three"


def test_the_parent_and_the_memory_pass_load_without_torch() -> None:
    code = "import sys, bench.measure, bench.measure.memory_pass, bench.environment; print('torch' in sys.modules)"
    root = Path(process.__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_line_for_the_parent_is_one_write(monkeypatch):
    """Where Python does not buffer, a line in two writes lets another process's line between them."""
    written = []
    pipe = SimpleNamespace(write=written.append, flush=lambda: None)
    monkeypatch.setattr(sys, "stdout", pipe)
    say("@forked 12")
    assert written == ["@forked 12\n"]
