"""How long a run will take: counted work over a rate, corrected by the clock while the run goes on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from bench.plan import Case, Plan
from bench.progress import Watcher

_MACS_PER_S_AND_CORE = 2e10  # of training with small batches; the clock corrects it
_FORWARD_AND_BACKWARD = 3  # a training step costs about three forward passes
_START_S = 2.0  # a forked process, reading, tracing
_RUNTIME_S = 5.0  # conversion, warm-up and samples of one runtime, and its memory in a process of its own


@dataclass(frozen=True)
class Sizes:
    """What the cost of a case depends on."""

    macs: int  # of one image through the dense network
    train_images: int
    test_images: int
    gpu: bool = False

    def train_s(self, epochs: int) -> float:
        """Estimated seconds of `epochs` of training."""
        rate = 1e13 if self.gpu else _MACS_PER_S_AND_CORE * (os.cpu_count() or 1)
        return 0.2 + epochs * (0.1 + self.train_images * (_FORWARD_AND_BACKWARD * self.macs + 3e5) / rate)

    def measure_s(self, runtimes: int) -> float:
        """Estimated seconds to measure one file in that many runtimes."""
        rate = _MACS_PER_S_AND_CORE * (os.cpu_count() or 1)
        return _START_S + runtimes * (_RUNTIME_S + self.test_images * self.macs / rate)


def case_steps(case: Case, sizes: Sizes, have: set[str]) -> dict[str, float]:
    """Estimated seconds of what `case` still needs: stage ids not in `have`, and "measure"."""
    recipe = case.source.recipe
    steps = {}
    for index, stage_id in enumerate(case.stage_ids):
        if stage_id not in have:
            epochs = recipe.epochs
            if index and case.chain is not None:
                epochs = case.chain.stages[index - 1].method.epochs(recipe.finetune_epochs, recipe.epochs)
            steps[stage_id] = sizes.train_s(epochs)
    steps["measure"] = sizes.measure_s(len(case.runtimes))
    return steps


def plan_seconds(plan: Plan, sizes: Sizes, have: set[str], recorded: set[str]) -> dict[str, float]:
    """Estimated seconds of each case by id, shared stages counted at the first case that needs them."""
    have = set(have)
    seconds = {}
    for case in plan.cases:
        steps = {} if case.id in recorded else case_steps(case, sizes, have)
        have |= set(steps)
        seconds[case.id] = sum(steps.values())
    return seconds


@dataclass
class Meter:
    """Where a run stands. Estimates are rescaled by how the finished part compared with the clock."""

    expected: dict[str, float]  # seconds by case id
    started: float = field(default_factory=time.monotonic)
    finished_s: float = 0.0  # estimated seconds of the cases that are done
    case_s: float = 0.0  # estimated seconds of the case under way that are done

    def finish(self, case_id: str) -> None:
        """The case is done, whatever came of it."""
        self.finished_s += self.expected[case_id]
        self.case_s = 0.0

    def reading(self) -> tuple[float, float]:
        """(fraction done, seconds left)."""
        total = sum(self.expected.values())
        done = min(self.finished_s + self.case_s, total)
        elapsed = time.monotonic() - self.started
        pace = elapsed / done if done > 10 else 1.0
        return (done / total if total else 1.0), (total - done) * pace


@dataclass(frozen=True)
class Narrator:
    """Tells a watcher what is under way and how far the run has come."""

    watcher: Watcher
    meter: Meter

    def tell(self, text: str) -> None:
        """What is under way now."""
        self.watcher.step(text, *self.meter.reading())
