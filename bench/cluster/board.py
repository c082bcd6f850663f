"""What cases on other machines tell while they are under way, for the driver to show."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

_EVERY_S = 0.5


class Board:
    """Holds the latest of each case, and the lines that are to stay. Lives in a process of Ray's (an actor)."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, float]] = {}
        self._lines: list[str] = []

    def step(self, case_id: str, text: str, done_s: float) -> None:
        """What a case is at, and how many of its estimated seconds are done."""
        self._steps[case_id] = (text, done_s)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._lines.append(line)

    def read(self) -> tuple[dict[str, tuple[str, float]], list[str]]:
        """(text, seconds done) by case id, and the lines since the last call."""
        lines, self._lines = self._lines, []
        return self._steps, lines

    def forget(self, case_id: str) -> None:
        """The case has ended."""
        self._steps.pop(case_id, None)


@dataclass
class BoardWatcher:
    """A watcher of one case, who tells the board, at most twice a second."""

    board: Any  # handle of a `Board`
    case_id: str
    title: str
    seconds: float  # estimated, of the whole case
    _told: float = field(default=float("-inf"))

    def say(self, text: str) -> None:
        self.board.say.remote(f"{self.title}: {text}")

    def case(self, index: int, count: int, label: str) -> None:
        """Told by nobody: the driver counts."""

    def step(self, text: str, done: float, left: float) -> None:
        now = time.monotonic()
        if now - self._told >= _EVERY_S:
            self._told = now
            self.board.step.remote(self.case_id, text, done * self.seconds)
