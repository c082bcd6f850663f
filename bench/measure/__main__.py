"""The measuring process: `python -m bench.measure REQUEST.json ANSWER.json`. Started by bench.measure.process."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

from baselines.errors import UsageError
from bench.measure.messages import (
    PROGRESS,
    Answer,
    MemoryRequest,
    ReloadRequest,
    Request,
    TimeRequest,
    UsageAnswer,
    read_message,
    say,
    write_message,
)


def end_with_parent(held_by_parent: int) -> None:
    """Ends this process when the parent has, and with it the other end of the pipe `held_by_parent` (a descriptor): a
    stray worker would load the machine that the next one measures."""

    def wait() -> None:
        while os.read(held_by_parent, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _say(text: str) -> None:
    say(f"{PROGRESS}{text}")


def answer_to(request: Request) -> Answer:
    """What a request asks for, measured by this process."""
    if isinstance(request, MemoryRequest):
        from bench.measure.memory_pass import memory

        return memory(request)
    if isinstance(request, TimeRequest):
        from bench.measure.timing import timed

        return timed(request)
    try:
        if isinstance(request, ReloadRequest):
            from bench.exporting.reload import rescored

            return rescored(request)
        from bench.measure.score import score

        return score(request, _say)
    except UsageError as error:
        return UsageAnswer(str(error))


def main() -> None:
    end_with_parent(sys.stdin.fileno())
    question, answer = (Path(argument) for argument in sys.argv[1:])
    write_message(answer_to(read_message(question)), answer)
    gc.freeze()  # an interpreter that ends goes through all objects again and again: half a second


if __name__ == "__main__":
    main()
