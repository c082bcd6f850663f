"""The processes that measure: they can die, hang and chatter, and the parent says what happened."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baselines.errors import UsageError
from bench.measure import process
from bench.measure.messages import MemoryAnswer, MemoryRequest, UsageAnswer, read_message, write_message
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
    code = "from bench.measure.__main__ import _end_with_parent; import time; _end_with_parent(); time.sleep(60)"
    root = Path(process.__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=root) as worker:
        assert worker.stdin is not None
        worker.stdin.close()  # what the system does when the parent is killed
        assert worker.wait(timeout=20) == 1


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
