"""The search for a chain: an optimiser suggests, and each suggestion goes from cheap to dear as far as it is worth it.

First its file without training: if that breaks a limit on size, or is no smaller than the best that has been found, it
ends there. Then a few epochs of fine-tuning, more, and the whole budget, in rungs as of successive halving (Jamieson
and Talwalkar 2016, arXiv 1502.07943). Who breaks a limit on the drop at few epochs may keep it at all of them, so that
a rung does not ask for the limit: it stops a suggestion that has lost more than one which broke the limit in the end
had lost at as many epochs, unless one that kept it had lost as much. Where the drop itself is made least, the best
third of a rung goes on.

Suggestions are those of a tree-structured Parzen estimator (Bergstra et al. 2011; Optuna, which is an extra). The same
seed and budget give the same trials: the study is not stored, it is played again from the trials that are.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from baselines.errors import UsageError
from bench.candidates import Candidate, best_of
from bench.goals import Goal, Levels
from bench.laboratory import UNTRAINED, Laboratory, Trial
from bench.search_space import Space

_REDUCTION = 3  # of epochs from rung to rung, and of suggestions where the drop is made least
_MOST_RUNGS = 3
_SUGGESTIONS_A_TRIAL = 5  # at most: of those that cannot be, or have been
_FIRST = 10  # suggestions at random at least, before the estimator says where
_SLACK = 0.1  # doublings by which a file may differ once it is trained
_BEYOND = 1.0  # added to the score of what breaks a limit, or is thought to, in doublings
_CANNOT_BE = 100.0  # score of what does not run


@dataclass(frozen=True)
class Budget:
    """What a search may cost: suggestions that can run, and seconds of trials."""

    trials: int
    seconds: float = math.inf


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
    return ladder[-_MOST_RUNGS:]


@dataclass
class Search:
    """One search.

    on_candidate: told of each suggestion, with all of them so far.
    """

    laboratory: Laboratory
    space: Space
    goal: Goal
    on_candidate: Callable[[Sequence[Candidate]], None] = lambda _found: None
    _dense: Trial = field(init=False)
    _drops: dict[int, dict[str, float]] = field(default_factory=dict)  # by epochs and chain, in points

    def run(self, budget: Budget) -> list[Candidate]:
        """The suggestions in order, as many as the budget allows.

        Raises:
            UsageError: Optuna is not installed.
        """
        study = _study(self.laboratory.seed, budget)
        self._dense = self.laboratory.dense(latency=self.goal.needs_latency)
        found: dict[str, Candidate] = {}
        for _ in range(_SUGGESTIONS_A_TRIAL * budget.trials):
            if len(found) >= budget.trials or sum(one.seconds for one in found.values()) >= budget.seconds:
                break
            suggestion = study.ask()
            try:
                text = self.space.suggest(suggestion, self.laboratory.chain_of)
                self.laboratory.chain_of(text)
            except UsageError:  # no method at all, or an order that cannot work
                study.tell(suggestion, _CANNOT_BE)
                continue
            if text not in found:
                found[text] = self._climbed(text, list(found.values()))
                self.on_candidate(list(found.values()))
            study.tell(suggestion, _score(found[text]))
        return list(found.values())

    def _climbed(self, text: str, before: Sequence[Candidate]) -> Candidate:
        """The suggestion `text` taken as far as it is worth it."""
        chain, latency = self.laboratory.chain_of(text), self.goal.needs_latency
        cheap = self.laboratory.trial(chain, UNTRAINED, latency=latency)
        one = self._candidate(len(before) + 1, text, cheap)
        if one.status == "refused":
            return one
        if reason := self._not_worth_training(cheap, before):
            return replace(one, reason=reason)
        ladder = self.laboratory.ladder(chain, rungs(self.laboratory.full_epochs))
        for epochs in ladder:
            whole = epochs == ladder[-1]
            made = self.laboratory.trial(chain, epochs, latency=latency and whole)
            if not whole:  # training changes no latency
                made = replace(made, latency_s=cheap.latency_s, dense_latency_s=cheap.dense_latency_s)
            one = self._candidate(one.number, text, made, one.seconds, "whole" if whole else "stopped")
            if whole or one.status == "refused":
                break
            reason = self._behind(one.drop, epochs, before)
            self._drops.setdefault(epochs, {})[text] = one.drop
            if reason:
                return replace(one, reason=reason)
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

    def _behind(self, drop: float, epochs: int, before: Sequence[Candidate]) -> str:
        """Why a suggestion that has lost so many points at these epochs stops, or an empty text."""
        known = self._drops.get(epochs, {})
        if self.goal.least == "drop":
            better = sum(other < drop for other in known.values())
            return "not in the best third at these epochs" if better > len(known) / _REDUCTION else ""
        most = next(limit.value for limit in self.goal.limits if limit.quantity == "drop")
        whole = [one for one in before if one.status == "whole" and one.label in known]
        kept = max((known[one.label] for one in whole if one.drop <= most), default=-math.inf)
        broke = min((known[one.label] for one in whole if one.drop > most), default=math.inf)
        return "lost more at these epochs than who broke the limit later" if drop > max(kept, broke) else ""

    def _levels(self, trial: Trial) -> Levels:
        return trial.levels(self._dense)

    def _candidate(
        self,
        number: int,
        text: str,
        trial: Trial,
        before_s: float = 0.0,
        status: Literal["whole", "stopped"] = "stopped",
    ) -> Candidate:
        seconds = before_s + trial.seconds
        if trial.status != "ok":
            return Candidate(number, text, trial.chain, "refused", trial.reason, trial.epochs, seconds=seconds)
        levels, dense = self._levels(trial), self._levels(self._dense)
        return Candidate(
            number, text, trial.chain, status, "", trial.epochs, trial.file_bytes, levels.drop, trial.parameters,
            trial.macs, levels.latency, self.goal.excess(levels, dense), self.goal.gain(levels, dense), seconds,
        )  # fmt: skip


def _study(seed: int, budget: Budget) -> Any:
    library = optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is experimental in it
        sampler = library.samplers.TPESampler(
            seed=seed, n_startup_trials=max(_FIRST, budget.trials // 6), multivariate=True, group=True
        )
        return library.create_study(direction="minimize", sampler=sampler)


def _score(one: Candidate) -> float:
    """What the optimiser makes least; it goes by the order of scores alone. A suggestion that was stopped without
    training counts as what its file would be worth."""
    if one.status == "refused":
        return _CANNOT_BE
    untrained = one.status == "stopped" and one.epochs == UNTRAINED and not one.reason.startswith("beyond")
    return -one.gain + (0.0 if untrained or one.excess <= 0 else _BEYOND + one.excess)
