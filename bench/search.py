"""The search for a chain: an optimiser suggests, and each suggestion goes from cheap to dear as far as it is worth it.

First its file without training: if that breaks a limit on size, or is no smaller than the best that has been found, it
ends there. Then a few epochs of fine-tuning, more, and the whole budget: a suggestion goes on while its score is among
the best third of those that came as far (successive halving: Jamieson and Talwalkar 2016, arXiv 1502.07943; as each
comes, Li et al. 2020, arXiv 1810.05934). Suggestions are those of a tree-structured Parzen estimator (Bergstra et al.
2011). Optuna does both; it is an extra.

The same seed and budget give the same trials: the study is not stored, it is played again from the trials that are.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from baselines.errors import UsageError
from bench.goals import Goal, Levels
from bench.laboratory import UNTRAINED, Laboratory, Trial
from bench.search_space import Space

_REDUCTION = 3  # of a rung's suggestions one goes on; of its epochs the next has so many times as many
_SUGGESTIONS_A_TRIAL = 10  # at most: of those that cannot be, or have been
_FIRST = 10  # suggestions at random at least, before the estimator says where
_SLACK = 0.1  # doublings by which a file may differ once it is trained
_BEYOND = 1.0  # added to the score of what breaks a limit at the whole budget, in doublings


@dataclass(frozen=True)
class Candidate:
    """One suggestion, as far as it came."""

    number: int
    label: str  # the chain as it is typed
    chain: str
    status: Literal["whole", "stopped", "refused"]  # whole: it had the whole budget
    reason: str = ""
    epochs: int = UNTRAINED  # of fine-tuning a stage, at its last trial
    size_bytes: int = 0
    drop: float = float("nan")  # points of validation accuracy, at its last trial
    params: int = 0
    macs: int = 0
    latency_s: float = float("nan")
    excess: float = float("inf")  # beyond the limits, 0 within them
    gain: float = float("-inf")  # of what is made least, in doublings below dense, or points
    seconds: float = 0.0  # of all its trials


@dataclass(frozen=True)
class Budget:
    """What a search may cost: suggestions that can run, and seconds of trials."""

    trials: int
    seconds: float = float("inf")


def optuna() -> Any:
    """The optimiser's module.

    Raises:
        UsageError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module("optuna")
    except ImportError as error:
        raise UsageError("--search needs Optuna: pip install optuna==5.0.0 (requirements-extra.txt has it)") from error
    found.logging.set_verbosity(found.logging.WARNING)
    return found


def rungs(full: int) -> list[int]:
    """Fine-tuning epochs of a suggestion's trials, the whole budget last: 20 -> 2, 7, 20."""
    ladder = [full]
    while (fewer := round(ladder[0] / _REDUCTION)) >= 1 and fewer < ladder[0]:
        ladder.insert(0, fewer)
    return ladder[-3:]


@dataclass
class Search:
    """One search.

    on_candidate: told of each suggestion that could run, with all of them so far.
    """

    laboratory: Laboratory
    space: Space
    goal: Goal
    on_candidate: Callable[[Sequence[Candidate]], None] = lambda _found: None
    _dense: Trial = field(init=False)

    def run(self, budget: Budget) -> list[Candidate]:
        """The suggestions in order, as many as the budget allows.

        Raises:
            UsageError: Optuna is not installed.
        """
        study = self._study(budget)
        self._dense = self.laboratory.dense(latency=self.goal.needs_latency)
        found: dict[str, Candidate] = {}
        for _ in range(_SUGGESTIONS_A_TRIAL * budget.trials):
            if len(found) >= budget.trials or sum(one.seconds for one in found.values()) >= budget.seconds:
                break
            trial = study.ask()
            state = optuna().trial.TrialState
            try:
                text = self.space.suggest(trial, self.laboratory.chain_of)
                self.laboratory.chain_of(text)
            except UsageError:
                study.tell(trial, state=state.FAIL)
                continue
            if text in found:
                study.tell(trial, state=state.FAIL)
                continue
            found[text] = one = self._climbed(trial, text, len(found) + 1, list(found.values()))
            if one.status == "whole":
                study.tell(trial, _score(one.gain, one.excess, whole=True))
            else:
                study.tell(trial, state=state.FAIL if one.status == "refused" else state.PRUNED)
            self.on_candidate(list(found.values()))
        return list(found.values())

    def _study(self, budget: Budget) -> Any:
        library = optuna()
        first = max(_FIRST, budget.trials // 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is experimental in it
            sampler = library.samplers.TPESampler(
                seed=self.laboratory.seed, n_startup_trials=first, multivariate=True, group=True
            )
            pruner = library.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_REDUCTION)
            return library.create_study(direction="minimize", sampler=sampler, pruner=pruner)

    def _climbed(self, trial: Any, text: str, number: int, before: Sequence[Candidate]) -> Candidate:
        """The suggestion `text` taken as far as it is worth it."""
        chain, latency = self.laboratory.chain_of(text), self.goal.needs_latency
        cheap = self.laboratory.trial(chain, UNTRAINED, latency=latency)
        one = self._candidate(number, text, cheap, 0.0)
        if one.status == "refused":
            return one
        if reason := self._not_worth_training(cheap, before):
            return self._candidate(number, text, cheap, 0.0, reason)
        ladder = rungs(self.laboratory.full_epochs)
        for step, epochs in enumerate(ladder, start=1):
            last = step == len(ladder)
            made = self.laboratory.trial(chain, epochs, latency=latency and last)
            if not last:  # training changes no latency
                made = replace(made, latency_s=cheap.latency_s, dense_latency_s=cheap.dense_latency_s)
            one = self._candidate(number, text, made, one.seconds, whole=last)
            if one.status != "stopped" or last:
                return one
            trial.report(_score(one.gain, one.excess), _REDUCTION ** (step - 1))
            if trial.should_prune():
                return self._candidate(number, text, made, one.seconds - made.seconds, "behind at these epochs")
        return one

    def _not_worth_training(self, cheap: Trial, before: Sequence[Candidate]) -> str:
        """Why a file will not do whatever its accuracy, or an empty text."""
        levels, dense = self._levels(cheap), self._levels(self._dense)
        if self.goal.before_training.excess(levels, dense) > _SLACK:
            return "beyond a limit before it is trained"
        best = best_of(before)
        if best and self.goal.least != "drop" and self.goal.gain(levels, dense) < best.gain - _SLACK:
            return f"no better than number {best.number} before it is trained"
        return ""

    def _levels(self, trial: Trial) -> Levels:
        return trial.levels(self._dense)

    def _candidate(
        self, number: int, text: str, trial: Trial, before_s: float, reason: str = "", *, whole: bool = False
    ) -> Candidate:
        seconds = before_s + trial.seconds
        if trial.status != "ok":
            return Candidate(number, text, trial.chain, "refused", trial.reason, trial.epochs, seconds=seconds)
        levels, dense = self._levels(trial), self._levels(self._dense)
        return Candidate(
            number, text, trial.chain, "whole" if whole else "stopped", reason, trial.epochs, trial.file_bytes,
            levels.drop, trial.parameters, trial.macs, levels.latency, self.goal.excess(levels, dense),
            self.goal.gain(levels, dense), seconds,
        )  # fmt: skip


def _score(gain: float, excess: float, *, whole: bool = False) -> float:
    """What the optimiser makes least. Below the whole budget a limit may still be met, so that a point beyond it
    weighs as a doubling of what is made least."""
    return -gain + excess + (_BEYOND + excess if whole and excess > 0 else 0.0)


def best_of(candidates: Sequence[Candidate]) -> Candidate | None:
    """Of those that had the whole budget and keep all limits the one that gains most, the lesser drop before."""
    kept = [one for one in candidates if one.status == "whole" and one.excess <= 0]
    return max(kept, key=lambda one: (one.gain, -one.drop), default=None)


def front_of(candidates: Sequence[Candidate], goal: Goal, most: int = 8) -> list[Candidate]:
    """Those of the whole budget that no other beats in both the drop and what is made least (its size, where that is
    the drop); of too many those nearest to the limits; the smallest drop first."""
    whole = [one for one in candidates if one.status == "whole"]

    def cost(one: Candidate) -> float:
        return float(one.size_bytes) if goal.least == "drop" else -one.gain

    front = [
        one
        for one in whole
        if not any(
            (cost(other), other.drop) != (cost(one), one.drop) and cost(other) <= cost(one) and other.drop <= one.drop
            for other in whole
        )
    ]
    distinct = list({(cost(one), one.drop): one for one in reversed(front)}.values())
    nearest = sorted(distinct, key=lambda one: (one.excess, -one.gain))[:most]
    return sorted(nearest, key=lambda one: (one.drop, cost(one)))
