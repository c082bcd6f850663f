"""A run in a process of its own: what a case does to its process, a kill for want of memory or a crash, happens to that
case alone. The supervisor takes no part in the work and holds none of it in memory.

The two talk by one pipe each way. The worker names the case that begins; the supervisor's end of the other pipe closes
when it dies, however it dies, and the worker with it.
"""

from __future__ import annotations

import atexit
import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

_TELL, _LIFE = "BENCH_TELL_FD", "BENCH_LIFE_FD"  # of the worker: file descriptors, and
_BLAMED = "BENCH_BLAMED"  # cases that killed a worker before, each ID=SIGNAL
_OF_THE_USER = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
_KEPT = "what is finished is kept, and the same command goes on from there"
_MEANS = {
    signal.SIGKILL: "killed, most often because memory ran out",
    signal.SIGSEGV: "a crash in native code",
    signal.SIGABRT: "an abort in native code",
    signal.SIGBUS: "a crash in native code, or a full disk under a mapped file",
    signal.SIGILL: "an instruction that this processor has not",
}


def supervise(command: Sequence[str], say: Callable[[str], None]) -> int:
    """Runs `command` until it ends by itself; where a signal ended it, again without the case that was under way.

    say: told, in a line, of each such end.

    Returns: the exit code of the last worker; 128 + the signal's number where it had come no further than one before
    it, or the end was asked for.
    """
    blamed: dict[str, int] = {}
    known: set[str] = set()
    while True:
        code, begun, asked = _attempt(command, blamed)
        if code >= 0:
            return code
        case = begun[-1] if begun else ""
        new = set(begun) - known - {""}
        if asked or -code in _OF_THE_USER:
            return 128 - code
        if case in blamed or not new:  # the next worker would come no further
            say(f"the process ended: {ending(-code)}; {_KEPT}")
            return 128 - code
        known |= new
        if case:
            blamed[case] = -code
        where = f"worked on case {case}" if case else "was between two cases"
        say(f"the process that {where} ended: {ending(-code)}; going on with the others")


def ending(number: int) -> str:
    """What a signal's number tells of a process that it ended."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    means = _MEANS.get(number)  # type: ignore[call-overload]
    return f"{name} ({means})" if means else name


def _attempt(command: Sequence[str], blamed: Mapping[str, int]) -> tuple[int, list[str], bool]:
    """(exit code, negative for a signal; the cases that began, an empty one after each that ended; whether the end was
    asked for)."""
    heard, tell = os.pipe()
    life, held = os.pipe()
    environment = {
        **os.environ, _TELL: str(tell), _LIFE: str(life), _BLAMED: ",".join(f"{k}={v}" for k, v in blamed.items()),
    }  # fmt: skip
    try:
        worker = subprocess.Popen(command, env=environment, pass_fds=(tell, life))
    finally:
        os.close(tell)
        os.close(life)
    with _forwarding(worker) as asked, open(heard, encoding="ascii") as lines:
        begun = [line.strip() for line in lines]
        code = worker.wait()
    os.close(held)
    return code, begun, bool(asked)


@contextmanager
def _forwarding(worker: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Hands on what ends a process politely. Gives what came."""
    came: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        came.append(number)
        worker.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# In the worker

_AGAIN_S = 1.0  # after which a Ctrl-C is another one
_tell: int | None = None  # where the supervisor listens
_interrupted = -math.inf
_killers: dict[str, int] = {}  # the cases in which a worker before this one ended, and the signal


def is_supervised() -> bool:
    """Whether this process was started as a worker."""
    return _TELL in os.environ


def follow_supervisor() -> None:
    """Takes from the environment, where nobody else shall find it, what the supervisor put there, and ends this process
    as soon as that one is gone."""
    global _tell
    _tell, life = int(os.environ.pop(_TELL)), int(os.environ.pop(_LIFE))
    blamed = (one.split("=") for one in os.environ.pop(_BLAMED, "").split(",") if one)
    _killers.update((case, int(number)) for case, number in blamed)
    for descriptor in (_tell, life):
        os.set_inheritable(descriptor, False)
    atexit.register(gc.freeze)  # an interpreter that ends goes through all objects again and again: near a second
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored
        signal.signal(signal.SIGINT, _interrupt_once)

    def wait() -> None:
        os.read(life, 1)
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _interrupt_once(_number: int, _frame: FrameType | None) -> None:
    """A terminal sends Ctrl-C to the supervisor, who hands it on, and to this process too: one interruption."""
    global _interrupted
    before, _interrupted = _interrupted, time.monotonic()
    if _interrupted - before > _AGAIN_S:
        raise KeyboardInterrupt


def begin(case_id: str) -> None:
    """Tells the supervisor, if there is one, which case is under way; empty where none is."""
    if _tell is not None:
        os.write(_tell, f"{case_id}\n".encode("ascii"))


def why_blamed(case_id: str) -> str | None:
    """How a worker before this one ended in that case, or None."""
    number = _killers.get(case_id)
    return None if number is None else f"the process that worked on it ended: {ending(number)}"


def command_of(arguments: Sequence[str]) -> list[str]:
    """The worker's command line: this program with these arguments."""
    return [sys.executable, os.path.abspath(sys.argv[0]), *arguments]
