"""`--search`: finds chains, keeps every trial in the run's folder, and makes the plan of the winner and its rivals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from baselines.errors import UsageError
from bench.candidates import Candidate, best_of, front_of
from bench.choosing import in_own_folder, job_for, laboratory_of
from bench.command import Command
from bench.goals import Goal
from bench.grammar import Methods
from bench.job import Job
from bench.laboratory import Laboratory
from bench.options import Options
from bench.progress import Watcher
from bench.records import write_json
from bench.remaking import command_of
from bench.search import Budget, Search, optuna
from bench.search_space import Space, space_of

SEARCHED = "search.json"  # in the run's folder, read by reports/search_page.py
_TRIAL_S = 4.0  # of a suggestion before it is trained, for the estimate of time
_SHARE = 0.3  # of the suggestions that are trained to the end, for the same


def searched_job(command: Command, job: Job, methods: Methods, watcher: Watcher) -> Job:
    """The job of the chains that the search of `command` finds: the winner, if there is one, and the Pareto front.

    Raises:
        UsageError: Optuna is not installed, or nothing that was suggested can run.
    """
    options = command.options
    goal = options.search
    assert goal
    optuna()  # before anything is trained
    job = in_own_folder(command, job, ["search", goal.text, str(options.trials), str(options.search_minutes)])
    epochs = job.plan.cases[0].source.recipe.finetune_epochs
    estimate = options.trials * (_TRIAL_S + _SHARE * 2 * job.sizes.train_s(epochs))
    with laboratory_of(command, job, watcher, estimate) as laboratory:
        space = _space(options, methods, laboratory)

        def tell(found: Sequence[Candidate]) -> None:
            watcher.say(_told(found[-1]))
            watcher.case(min(len(found) + 1, options.trials), options.trials, "search")
            _write(found, goal, command, laboratory)

        watcher.case(1, options.trials, "search")
        minutes = options.search_minutes
        budget = Budget(options.trials, 60 * minutes if minutes else math.inf)
        found = Search(laboratory, space, goal, tell).run(budget)
    best, front = best_of(found), front_of(found, goal)
    if not front:
        raise UsageError(_nothing(found, job.out / SEARCHED))
    watcher.say(verdict(best, front, goal, options))
    labels = dict.fromkeys(one.label for one in ([best] if best else []) + front)
    return job_for(command, job, methods, ",".join(labels), watcher)


def _space(options: Options, methods: Methods, laboratory: Laboratory) -> Space:
    """The chains of `--methods`, or of all methods where it is as it is by default."""
    if options.methods == Options.methods:
        return space_of(methods, laboratory.chain_of)
    chains = laboratory.job.chains_of(options.methods)
    return Space({}, tuple(chain.label for chain in chains))


def _nothing(found: Sequence[Candidate], path: Path) -> str:
    """Why a search has no front: nothing could run, or nothing was worth the whole budget."""
    ran = [one for one in found if one.status != "refused"]
    if not ran:
        return f"--search found nothing that can run in {len(found)} trials: {path} has the reasons"
    least = min(ran, key=lambda one: one.size_bytes)
    return (
        f"--search: all of {len(ran)} chains that can run broke a limit early; the smallest file was "
        f"{least.size_bytes:,} bytes, a drop of {least.drop:.2f} points ({least.label}): widen a limit ({path} has all)"
    )


def _told(one: Candidate) -> str:
    if one.status == "refused":
        return f"{one.number}: {one.label}: refused: {one.reason}"
    epochs = "untrained" if one.epochs < 0 else f"{one.epochs} epoch{'' if one.epochs == 1 else 's'}"
    kept = " (within the limits)" if one.status == "whole" and one.excess <= 0 else ""
    why = f"; {one.reason}" if one.reason else kept
    return f"{one.number}: {one.label}: {one.size_bytes:,} bytes, drop {one.drop:.2f}, {epochs}{why}"


def verdict(best: Candidate | None, front: Sequence[Candidate], goal: Goal, options: Options) -> str:
    """The winner's command and the Pareto front, for the terminal."""
    lines = [f"{'file, B':>12} {'drop, points':>13} {'parameters':>12} {'MACs':>14}  chain"]
    lines += [f"{o.size_bytes:>12,} {o.drop:>13.2f} {o.params:>12,} {o.macs:>14,}  {o.label}" for o in front]
    lines.insert(0, "Pareto front of what had the whole budget, on validation data:")
    if best is None:
        return "\n".join([*lines, f"nothing found keeps {goal.text}: more --trials, or looser limits"])
    return "\n".join([*lines, f"the winner, {best.size_bytes:,} bytes:", command_of(options, best.label)])


def _write(found: Sequence[Candidate], goal: Goal, command: Command, laboratory: Laboratory) -> None:
    best, dense = best_of(found), laboratory.dense()
    write_json(
        {
            "goal": goal.text,
            "least": goal.least,
            "seed": laboratory.seed,
            "runtime": laboratory.runtime if goal.needs_latency else "",
            "epochs": laboratory.full_epochs,
            "dense_bytes": dense.file_bytes,
            "dense_validation_accuracy": dense.validation_accuracy,
            "winner": best.label if best else "",
            "command": command_of(command.options, best.label) if best else "",
            "front": [one.label for one in front_of(found, goal)],
            "candidates": [dataclasses.asdict(one) for one in found],
        },
        laboratory.job.out / SEARCHED,
    )
