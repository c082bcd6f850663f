"""Chains that are chosen before they run (`--at`, `--search`): on validation data alone, each kept in the run's folder.

What is chosen becomes an ordinary plan. Its rows are trained already; the test split is opened for them alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from baselines.errors import UsageError
from bench.command import Command
from bench.estimate import Meter, Narrator
from bench.folders import check_writable, hold
from bench.grammar import Methods
from bench.inputs import make_job
from bench.job import Job
from bench.laboratory import Laboratory
from bench.matching import Match, match
from bench.measure import Server
from bench.plan import content_id
from bench.progress import Watcher
from bench.records import write_json

MATCHED = "matched.json"  # in the run's folder, read by reports/matched.py
_CHOICE = "choice.json"
_TRIAL_S = 2.0  # of a trial without training, for the estimate of time
_TRIALS_OF_A_MATCH = (12, 4)  # of one chain at one target: without training, and at the whole budget


def matched_job(command: Command, job: Job, methods: Methods, watcher: Watcher) -> Job:
    """The job of the chains of `command`, each at its setting that reaches each target of `--at`.

    Raises:
        UsageError: no chain reaches any target; each one's reason has been told.
    """
    options = command.options
    job = in_own_folder(command, job, ["at", *(target.text for target in options.at)])
    chains = job.chains_of(options.methods)
    cheap, whole = _TRIALS_OF_A_MATCH
    epochs = job.plan.cases[0].source.recipe.finetune_epochs
    estimate = len(chains) * len(options.at) * (cheap * _TRIAL_S + whole * job.sizes.train_s(epochs))
    found: list[Match] = []
    with laboratory_of(command, job, watcher, estimate) as laboratory:
        for target in options.at:
            for index, chain in enumerate(chains, start=1):
                watcher.case(index, len(chains), f"{chain.label} at {target.text}")
                one = match(laboratory, chain, target)
                watcher.say(_told(one))
                found.append(one)
                _write_matches(found, laboratory, job.out / MATCHED)
    labels = dict.fromkeys(one.label for one in found if one.label)
    if not labels:
        asked = ", ".join(target.text for target in options.at)
        raise UsageError(
            f"--at {asked} is out of reach of every chain of --methods: ask for less, or name other chains"
        )
    return job_for(command, job, methods, ",".join(labels), watcher)


def _told(one: Match) -> str:
    if one.status == "refused":
        return f"{one.target}: {one.asked} refused: {one.reason}"
    reached = f"{one.reached:.2f} points" if one.target.startswith("drop") else f"{one.reached:.2f}x"
    more = f" ({one.reason})" if one.reason else ""
    return f"{one.target}: {one.label}: {reached}{more}, {one.trials} trials and {one.cheap_trials} without training"


def _write_matches(found: list[Match], laboratory: Laboratory, path: Path) -> None:
    dense = laboratory.dense()
    write_json(
        {
            "seed": laboratory.seed,
            "runtime": laboratory.runtime,
            "dense_bytes": dense.file_bytes,
            "dense_validation_accuracy": dense.validation_accuracy,
            "matches": [dataclasses.asdict(one) for one in found],
        },
        path,
    )


@contextmanager
def laboratory_of(command: Command, job: Job, watcher: Watcher, estimate_s: float) -> Iterator[Laboratory]:
    """A laboratory for the first seed and the first runtime of the command; estimate_s: of all that it will do."""
    runtime = command.options.runtimes[0]
    narrator = Narrator(watcher, Meter({"choosing": estimate_s}))
    with Server((runtime,)) as server:
        yield Laboratory(job, narrator, command.options.seeds[0], runtime, server)


def in_own_folder(command: Command, job: Job, asked: list[str]) -> Job:
    """The job in a folder of its own for what is asked, unless `--out` names one; takes the folder.

    Raises:
        UsageError: the folder holds another run, or cannot be written.
    """
    choice = content_id([job.plan.id, *asked])
    out = command.options.out or job.out.with_name(f"{job.out.name}-{choice[:6]}")
    path = out / _CHOICE
    try:
        hold(out)
        if path.is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["id"] != choice:
                raise UsageError(f"--out {out} holds another choice ({held['command']}): choose another folder")
        elif (out / "plan.json").is_file():
            raise UsageError(f"--out {out} holds a run whose chains were typed: choose another folder")
        else:
            write_json({"id": choice, "command": command.typed}, path)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is damaged: delete it and run again; what is finished is kept") from error
    check_writable("--cache", job.cache.folder)
    return dataclasses.replace(job, out=out)


def job_for(command: Command, job: Job, methods: Methods, chains: str, watcher: Watcher) -> Job:
    """The job that runs what was chosen, in the same folder."""
    options = dataclasses.replace(command.options, methods=chains, out=job.out, at=(), search=None)
    return make_job(dataclasses.replace(command, options=options), methods, watcher.say)
