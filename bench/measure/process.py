"""Fresh processes: every number of a row comes from one that read the row's file and nothing else of the run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from baselines.errors import UsageError
from bench.measure.messages import ENDED, FORKED, PROGRESS, Request, UsageAnswer, read_message, write_message

_ROOT = Path(__file__).resolve().parents[2]
# Set for the process that trains, unless a person set them; what is measured runs without, as it would anywhere else.
TRAINING_VARIABLES = {
    "GOMP_SPINCOUNT": "20000",  # OpenMP threads spin briefly: by default, training beside other work is far slower
    "THP_MEM_ALLOC_ENABLE": "1",  # large pages for tensors: training is about a seventh faster
}
_WORKER, _SERVER = "bench.measure", "bench.measure.server"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class MeasureError(RuntimeError):
    """A measuring process that died or ran out of time. The message is one line."""


def ask(request: Request, *, progress: Callable[[str], None], timeout_s: float, server: Server | None = None) -> Any:
    """The answer of a fresh process to `request`; its progress texts are passed on while it works.

    server: forks the process; without one it is started from nothing.

    Raises:
        MeasureError: the process crashed, or took longer than `timeout_s`.
        UsageError: it says that the request cannot be served.
    """
    run = server.run if server else _run
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        question, answer, complaint = (Path(folder, name) for name in ("request.json", "answer.json", "stderr.txt"))
        write_message(request, question)
        complaint.touch()
        code, timed_out = run((question, answer, complaint), request.threads, progress, timeout_s)
        if timed_out:
            raise MeasureError(f"measuring took longer than {timeout_s:g} s and was stopped")
        if code != 0 or not answer.exists():
            raise MeasureError(f"the measuring process {_ending(code)}: {last_words(complaint)}")
        message = read_message(answer)
    if isinstance(message, UsageAnswer):
        raise UsageError(message.message)
    return message


def _run(
    files: tuple[Path, Path, Path], threads: int, progress: Callable[[str], None], timeout_s: float
) -> tuple[int, bool]:
    """Runs a worker on (request, answer, standard error) to its end: (exit code, whether it was stopped for its
    time)."""
    question, answer, complaint = files
    with _start([_WORKER, str(question), str(answer)], complaint, threads) as process:
        assert process.stdout is not None
        try:
            with _time_limit(timeout_s, lambda: _kill(process.pid)) as stopped:
                for line in process.stdout:
                    if line.startswith(PROGRESS):
                        progress(line.removeprefix(PROGRESS).rstrip("\n"))
                return process.wait(), stopped.is_set()
        finally:
            _kill(process.pid)


class Server:
    """Forks scoring processes from one that has imported what they need (bench.measure.server), started with the first
    request and again when it died. Close it, or use it in a `with`."""

    def __init__(self, runtimes: Iterable[str]) -> None:
        self._runtimes = tuple(runtimes)
        self._process: subprocess.Popen[str] | None = None
        self._threads = 0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server and what it forked."""
        process, self._process = self._process, None
        if process is not None:
            _kill(process.pid)  # what it forked notices
            with contextlib.suppress(BrokenPipeError), process:  # a request that it did not live to read
                pass

    def run(
        self, files: tuple[Path, Path, Path], threads: int, progress: Callable[[str], None], timeout_s: float
    ) -> tuple[int, bool]:
        """As `_run` does, by a forked process."""
        process = self._started(threads, files[2])
        assert process.stdin is not None
        assert process.stdout is not None
        forked = process.pid
        with _time_limit(timeout_s, lambda: _kill(forked)) as stopped:
            try:
                with contextlib.suppress(BrokenPipeError):  # it has just died: its output ends
                    print(json.dumps([str(file) for file in files]), file=process.stdin, flush=True)
                for line in process.stdout:
                    if line.startswith(PROGRESS):
                        progress(line.removeprefix(PROGRESS).rstrip("\n"))
                    elif line.startswith(FORKED):
                        forked = int(line.removeprefix(FORKED))
                    elif line.startswith(ENDED):
                        return int(line.removeprefix(ENDED)), stopped.is_set()
            except BaseException:  # of `progress`, or an interrupt: what is under way has no one to answer
                self.close()
                raise
            finally:
                if forked != process.pid:
                    _kill(forked)
        code = process.wait()
        self.close()
        return code, stopped.is_set()

    def _started(self, threads: int, complaint: Path) -> subprocess.Popen[str]:
        """The server. If it dies while it starts, its last words are in `complaint`."""
        if self._process is not None and (self._threads != threads or self._process.poll() is not None):
            self.close()
        if self._process is None:
            self._process = _start([_SERVER, str(os.getpid()), *self._runtimes], complaint, threads)
            self._threads = threads
        return self._process


def _start(module_and_arguments: list[str], complaint: Path, threads: int) -> subprocess.Popen[str]:
    """A Python process that ends when its input does, however that happens."""
    kept = {name: value for name, value in os.environ.items() if TRAINING_VARIABLES.get(name) != value}
    with complaint.open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", *module_and_arguments],
            cwd=_ROOT,
            env={**kept, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
            stdin=subprocess.PIPE,  # closed by our death, however we die: the worker then ends too
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            process_group=0,
        )


@contextlib.contextmanager
def _time_limit(seconds: float, stop: Callable[[], None]) -> Iterator[threading.Event]:
    """Calls `stop` when the block takes longer than `seconds`; the event says that it did."""
    stopped = threading.Event()

    def end() -> None:
        stopped.set()
        stop()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield stopped
    finally:
        timer.cancel()


def _kill(pid: int) -> None:
    """Ends a process and its helpers."""
    with contextlib.suppress(ProcessLookupError):  # it has ended already, and its helpers with it
        os.killpg(pid, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def last_words(complaint: Path, count: int = 2) -> str:
    """The last lines of what a process wrote on standard error, as one."""
    lines = [line.strip() for line in complaint.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-count:]) or "it said nothing"
