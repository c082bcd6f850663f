"""What a person sees while a run works: a bar with an estimate on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text


class Watcher(Protocol):
    """What the runner tells of its work. Seconds are estimates of work, not of the clock."""

    def say(self, text: str) -> None:
        """A line that stays."""
        ...

    def case(self, index: int, count: int, label: str) -> None:
        """Case `index` of `count` (from 1) begins."""
        ...

    def step(self, text: str, done: float, left: float) -> None:
        """What is under way now. done: fraction of the run's estimated work; left: seconds estimated to its end."""
        ...


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text("" if left is None else f"ETA {clock(left)}", style="cyan")


class LiveProgress:
    """A progress bar for a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[case]}", style="bold", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12),
            TextColumn("{task.percentage:>3.0f} %", table_column=Column(no_wrap=True, min_width=5)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            _Left(table_column=Column(no_wrap=True, min_width=8)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            refresh_per_second=4,
            expand=True,
        )
        self._task = self._progress.add_task("", total=1.0, case="")

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def case(self, index: int, count: int, label: str) -> None:
        self._progress.update(self._task, case=f"[{index}/{count}] {label}"[:40].replace("[", "\\["))

    def step(self, text: str, done: float, left: float) -> None:
        self._progress.update(self._task, description=text, completed=min(done, 1.0), left=left)


class PlainProgress:
    """Lines for a log: each case, and at most one line on the work in ten seconds."""

    def __init__(self, console: Console, every_s: float = 10.0) -> None:
        self._console = console
        self._every_s = every_s
        self._last = time.monotonic()
        self._case = ""

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def case(self, index: int, count: int, label: str) -> None:
        self._case = f"[{index}/{count}] {label}"

    def step(self, text: str, done: float, left: float) -> None:
        now = time.monotonic()
        if now - self._last >= self._every_s:
            self._last = now
            self.say(f"{self._case}: {text}, {100 * min(done, 1.0):.0f} % of the run, ETA {clock(left)}")


def progress(console: Console) -> LiveProgress | PlainProgress:
    """A bar where `console` is a terminal, lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
