"""Fresh processes: every number of a row comes from one that read the row's file and nothing else of the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from baselines.errors import UsageError
from bench.measure.messages import PROGRESS, Request, UsageAnswer, read_message, write_message

_ROOT = Path(__file__).resolve().parents[2]
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class MeasureError(RuntimeError):
    """A measuring process that died or ran out of time. The message is one line."""


def ask(request: Request, *, progress: Callable[[str], None], timeout_s: float) -> Any:
    """The answer of a fresh process to `request`; its progress texts are passed on while it works.

    Raises:
        MeasureError: the process crashed, or took longer than `timeout_s`.
        UsageError: it says that the request cannot be served.
    """
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        question, answer, complaint = (Path(folder, name) for name in ("request.json", "answer.json", "stderr.txt"))
        write_message(request, question)
        code, timed_out = _run([str(question), str(answer)], complaint, request.threads, progress, timeout_s)
        if timed_out:
            raise MeasureError(f"measuring took longer than {timeout_s:g} s and was stopped")
        if code != 0 or not answer.exists():
            raise MeasureError(f"the measuring process {_ending(code)}: {last_words(complaint)}")
        message = read_message(answer)
    if isinstance(message, UsageAnswer):
        raise UsageError(message.message)
    return message


def _run(
    arguments: list[str], complaint: Path, threads: int, progress: Callable[[str], None], timeout_s: float
) -> tuple[int, bool]:
    """Runs the worker to its end: (exit code, whether it was stopped for its time)."""
    stopped = threading.Event()
    with (
        complaint.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "bench.measure", *arguments],
            cwd=_ROOT,
            env={**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))},
            stdin=subprocess.PIPE,  # closed by our death, however we die: the worker then ends too
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            process_group=0,
        ) as process,
    ):

        def stop() -> None:
            stopped.set()
            _kill(process)

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(PROGRESS):
                    progress(line.removeprefix(PROGRESS).rstrip("\n"))
            return process.wait(), stopped.is_set()
        finally:
            timer.cancel()
            _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended already, and its helpers with it
        os.killpg(process.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def last_words(complaint: Path, count: int = 2) -> str:
    """The last lines of what a process wrote on standard error, as one."""
    lines = [line.strip() for line in complaint.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-count:]) or "it said nothing"
