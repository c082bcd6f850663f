"""How long a run will take: counted work over a rate, corrected by the clock while the run goes on."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
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
    processes: int = 1  # that train together: so many GPUs, or the same cores

    def train_s(self, epochs: int) -> float:
        """Estimated seconds of `epochs` of training."""
        rate = 1e13 * self.processes if self.gpu else _MACS_PER_S_AND_CORE * (os.cpu_count() or 1)
        return 0.2 + epochs * (0.1 + self.train_images * (_FORWARD_AND_BACKWARD * self.macs + 3e5) / rate)

    def measure_s(self, runtimes: int) -> float:
        """Estimated seconds to measure one file in that many runtimes."""
        rate = _MACS_PER_S_AND_CORE * (os.cpu_count() or 1)
        return _START_S + runtimes * (_RUNTIME_S + self.test_images * self.macs / rate)


def needed(case: Case, sizes: Sizes, has: Callable[[str], bool]) -> dict[str, float]:
    """Estimated seconds to make each network on the way to the case's, by id, those that there are included; of other
    chains only those that a method still has to take. Nothing where it is known that the case cannot run."""
    if case.refusal:
        return {}
    recipe, ids = case.source.recipe, case.stage_ids
    seconds = {ids[0]: sizes.train_s(recipe.epochs)}
    for stage, stage_id in zip(case.chain.stages if case.chain else (), ids[1:], strict=True):
        for chain, offset in () if has(stage_id) else stage.taken:
            seconds |= needed(dataclasses.replace(case, chain=chain, seed=case.seed + offset), sizes, has)
        seconds[stage_id] = sizes.train_s(stage.method.epochs(recipe.finetune_epochs, recipe.epochs))
    return seconds


def cached(plan: Plan, sizes: Sizes, has: Callable[[str], bool]) -> set[str]:
    """Ids of the networks on the way to the plan's that there are already."""
    return {one for case in plan.cases for one in needed(case, sizes, has) if has(one)}


def plan_seconds(plan: Plan, sizes: Sizes, have: set[str], recorded: set[str]) -> dict[str, float]:
    """Estimated seconds of each case by id: networks not in `have`, each counted at the first case that needs it, and
    measuring."""
    have = set(have)
    seconds = {}
    for case in plan.cases:
        if case.id in recorded or case.refusal:
            seconds[case.id] = 0.0
            continue
        missing = {one: cost for one, cost in needed(case, sizes, have.__contains__).items() if one not in have}
        have |= set(missing)
        seconds[case.id] = sum(missing.values()) + sizes.measure_s(len(case.runtimes))
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
