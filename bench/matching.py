"""`--at size=8x`: for each chain, the strength at which it reaches the target, so that chains are compared there.

A first search uses files of networks that were compressed but not trained, whose bytes and pace are nearly those of the
trained ones and cost seconds; trials at the whole budget then say by how much it was off. A drop can only be found by
whole trials, by halving. All on validation data and on the first seed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from baselines.errors import UsageError
from bench.chains import Chain, Stage
from bench.goals import Target
from bench.laboratory import UNTRAINED, Laboratory, Trial
from methods.base import Strength

WITHIN = 0.03  # of a ratio: as near counts as reached
_CLOSE = 0.005  # of a ratio: as near the search without training comes
_WHOLE_TRIALS = 6  # most of them, of one chain
_CHEAP_TRIALS = 10  # most of them between two known points
_HALVINGS = 6  # of the range of a strength, for a drop
_NO_VALUE = "no value of its strength goes with what else is set"


@dataclass(frozen=True)
class Match:
    """What was found for one chain at one target."""

    target: str  # as typed
    asked: str  # the chain as typed
    status: Literal["reached", "nearest", "refused"]  # nearest: the settings next to the target lie on both sides of it
    reason: str = ""
    label: str = ""  # the chain with its setting, as it can be typed; empty where none came of it
    chain: str = ""  # its canonical text
    reached: float = math.nan  # on validation: the ratio to dense, or the drop in points; of a refused one, the nearest
    validation_accuracy: float = math.nan
    file_bytes: int = 0
    trials: int = 0  # at the whole budget
    cheap_trials: int = 0  # without training


@dataclass(frozen=True)
class Knob:
    """The strength of one stage of a chain, the others fixed."""

    chain: Chain
    index: int
    strength: Strength

    def text(self, value: float) -> str:
        """The chain with that value, as it is typed."""
        labels = [stage.label for stage in self.chain.stages]
        labels[self.index] += f":{self.strength.field}={value}"
        return "+".join(labels)


def knobs_of(chain: Chain) -> list[Knob]:
    """The strengths that were not set, that of the last stage first."""
    return [
        Knob(chain, index, strength)
        for index in reversed(range(len(chain.stages)))
        if (strength := free_strength(chain.stages[index]))
    ]


def free_strength(stage: Stage) -> Strength | None:
    """The strength of a stage, unless its value was typed."""
    strength = stage.method.strength
    return strength if strength and strength.field not in stage.typed else None


class _Tries:
    """The trials of one knob, each made once: level of the target's quantity by value, None where it was refused.

    A level is the logarithm of a ratio to dense, or a drop in points.
    """

    def __init__(self, laboratory: Laboratory, knob: Knob, target: Target, epochs: int | None) -> None:
        self._laboratory, self._knob, self._target, self._epochs = laboratory, knob, target, epochs
        self._latency = target.quantity == "latency"
        self.trials: dict[float, Trial] = {}
        self.levels: dict[float, float | None] = {}

    def __call__(self, value: float) -> float | None:
        if value not in self.levels:
            self.levels[value] = self._level(value)
        return self.levels[value]

    def _level(self, value: float) -> float | None:
        try:
            chain = self._laboratory.chain_of(self._knob.text(value))
        except UsageError:  # what else is set does not go with it
            return None
        trial = self._laboratory.trial(chain, self._epochs, latency=self._latency)
        self.trials[value] = trial
        if trial.status != "ok":
            return None
        dense = self._laboratory.dense()
        if self._target.quantity == "drop":
            return 100 * (dense.validation_accuracy - trial.validation_accuracy)
        if self._latency:
            return math.log(trial.dense_latency_s / trial.latency_s)
        return math.log(dense.file_bytes / trial.file_bytes)

    @property
    def reasons(self) -> list[str]:
        return [trial.reason for trial in self.trials.values() if trial.reason]


def match(laboratory: Laboratory, chain: Chain, target: Target) -> Match:
    """The setting of `chain` that reaches `target`, or the nearest, or why it is out of reach.

    The strength of the last stage that leaves one open is searched, then, where that does not reach the target, those
    of the stages before it, one at a time.
    """
    found: list[Match] = []
    for knob in knobs_of(chain):
        found.append(_at_one_knob(laboratory, knob, target))
        if found[-1].status == "reached":
            break
    if not found:
        why = "it has no strength that is left open: take a value out of it"
        return Match(target.text, chain.label, "refused", why)
    best = min(found, key=lambda one: _rank(one, target))
    trials, cheap = sum(one.trials for one in found), sum(one.cheap_trials for one in found)
    return dataclasses.replace(best, trials=trials, cheap_trials=cheap)


def _rank(one: Match, target: Target) -> tuple[int, float]:
    """How far from the target, the best first."""
    off = abs(math.log(max(one.reached, 1e-9) / target.value)) if one.reached == one.reached else math.inf
    return ("reached", "nearest", "refused").index(one.status), off


def _at_one_knob(laboratory: Laboratory, knob: Knob, target: Target) -> Match:
    whole = _Tries(laboratory, knob, target, None)
    if target.quantity == "drop":
        value = _strongest_within(whole, knob.strength, target.value)
        return _of_drop(target, knob, whole, value)
    cheap = _Tries(laboratory, knob, target, UNTRAINED)
    _approach(whole, cheap, knob.strength, math.log(target.value))
    return _of_ratio(target, knob, whole, cheap)


def _approach(whole: _Tries, cheap: _Tries, strength: Strength, goal: float) -> None:
    """Makes whole trials, each where the cheap ones say that the goal lies, put right by how the last was off."""
    aim, low, high = goal, 0.0, 1.0
    for _ in range(_WHOLE_TRIALS):
        value = inverse(cheap, strength, aim, low, high)
        if value is None:
            return
        if value in whole.levels:  # the cheap trials tell no two settings apart any more
            value = strength.at((low + high) / 2)
            if value in whole.levels:
                return
        level, position = whole(value), strength.position(value)
        if level is not None and abs(level - goal) <= math.log1p(WITHIN):
            return
        if level is None or level > goal:
            high = min(high, position)
        else:
            low = max(low, position)
        if level is not None:
            known = cheap(value)
            aim = goal + (known - level if known is not None else 0.0)


def inverse(
    level: Callable[[float], float | None], strength: Strength, goal: float, low: float = 0.0, high: float = 1.0
) -> float | None:
    """The value between two positions at which `level`, which rises with strength, is nearest to `goal`; None where
    no value gives a level."""
    if strength.whole:
        values = [v for v in strength.values() if low - 1e-9 <= strength.position(v) <= high + 1e-9]
        found = {value: reached for value in values if (reached := level(value)) is not None}
        return min(found, key=lambda value: abs(found[value] - goal), default=None)
    points = {}
    for step in range(5):
        value = strength.at(low + (high - low) * step / 4)
        if (reached := level(value)) is not None:
            points[value] = reached
    for _ in range(_CHEAP_TRIALS):
        below = [value for value in points if points[value] <= goal]
        above = [value for value in points if points[value] > goal]
        if not below or not above or min(abs(one - goal) for one in points.values()) <= _CLOSE:
            break
        start, end = max(below, key=strength.position), min(above, key=strength.position)
        value = strength.at(
            _between(strength.position(start), strength.position(end), points[start], points[end], goal)
        )
        reached = None if value in points else level(value)
        if reached is None:
            break
        points[value] = reached
    return min(points, key=lambda value: abs(points[value] - goal), default=None)


def _between(start: float, end: float, at_start: float, at_end: float, goal: float) -> float:
    """The position on the line through two points, not too near to either: curves may be steps."""
    share = (goal - at_start) / (at_end - at_start) if at_end > at_start else 0.5
    return start + (end - start) * min(0.85, max(0.15, share))


def _strongest_within(drops: _Tries, strength: Strength, most: float) -> float | None:
    """The value of the smallest file among those tried whose drop is at most `most`, or None."""
    if strength.whole:
        values: tuple[float, ...] = strength.values()
        low, high = -1, len(values)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _keeps(drops(values[middle]), most) else (low, middle)
    else:
        start, end = 0.0, 1.0
        for _ in range(_HALVINGS):
            position = (start + end) / 2
            start, end = (position, end) if _keeps(drops(strength.at(position)), most) else (start, position)
        if start == 0.0:
            drops(strength.weakest)
    kept = [value for value, drop in drops.levels.items() if _keeps(drop, most)]
    return min(kept, key=lambda value: drops.trials[value].file_bytes, default=None)


def _keeps(drop: float | None, most: float) -> bool:
    return drop is not None and drop <= most + 1e-9


def _of_drop(target: Target, knob: Knob, whole: _Tries, value: float | None) -> Match:
    known = {one: drop for one, drop in whole.levels.items() if drop is not None}
    if value is not None:
        spare = target.value - known[value]
        if spare <= WITHIN * target.value + 1e-9:
            return _found(target, knob, whole, value, known[value], "reached")
        why = f"{spare:.2f} points to spare: no smaller file that was tried keeps within the target"
        return _found(target, knob, whole, value, known[value], "nearest", reason=why)
    if not known:
        return _refused(target, knob, whole, whole.reasons)
    least = min(known, key=lambda one: known[one])
    why = f"out of reach: the least drop found is {known[least]:.2f} points, at {knob.text(least)}"
    return _refused(target, knob, whole, [why], reached=known[least])


def _of_ratio(target: Target, knob: Knob, whole: _Tries, cheap: _Tries) -> Match:
    known = {value: level for value, level in whole.levels.items() if level is not None}
    count = len(cheap.trials)
    if not known:
        return _refused(target, knob, whole, [*whole.reasons, *cheap.reasons], count)
    goal = math.log(target.value)
    value = min(known, key=lambda one: abs(known[one] - goal))
    ratio = math.exp(known[value])
    if abs(known[value] - goal) <= math.log1p(WITHIN):
        return _found(target, knob, whole, value, ratio, "reached", cheap=count)
    everywhere = [*known.values(), *(level for level in cheap.levels.values() if level is not None)]
    if min(everywhere) < goal < max(everywhere):
        return _found(
            target, knob, whole, value, ratio, "nearest", cheap=count,
            reason=f"not within {100 * WITHIN:g} %: no setting found is nearer",
        )  # fmt: skip
    why = f"out of reach: the nearest found is {ratio:.3g}x, at {knob.text(value)}"
    return _refused(target, knob, whole, [why], count, ratio)


def _found(
    target: Target,
    knob: Knob,
    whole: _Tries,
    value: float,
    reached: float,
    status: Literal["reached", "nearest"],
    *,
    reason: str = "",
    cheap: int = 0,
) -> Match:
    trial = whole.trials[value]
    return Match(
        target.text, knob.chain.label, status, reason, trial.label, trial.chain, reached, trial.validation_accuracy,
        trial.file_bytes, len(whole.trials), cheap,
    )  # fmt: skip


def _refused(
    target: Target, knob: Knob, whole: _Tries, reasons: list[str], cheap: int = 0, reached: float = math.nan
) -> Match:
    return Match(
        target.text, knob.chain.label, "refused", reasons[0] if reasons else _NO_VALUE, reached=reached,
        trials=len(whole.trials), cheap_trials=cheap,
    )  # fmt: skip
