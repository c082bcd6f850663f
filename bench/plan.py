"""What a run does: cases, each with an id that hashes everything its result depends on."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from baselines.training import Recipe
from bench.chains import Chain, Stage
from bench.records import SCHEMA, Role
from methods.base import Writing

RESULTS = 6  # raised when code changes what methods return: stages cached before it are then not taken for theirs
_FOR_SPEED = ("part", "order")  # roles of rows that are compared in speed too
_DENSE_FIELDS_LEFT_OUT = ("finetune_epochs", "finetune_lr")  # the dense network does not depend on them


def content_id(data: Any) -> str:
    """The first 16 hex digits of the SHA-256 of `data` as canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Source:
    """Where a dense network comes from. `data` and `net` describe contents, not only names: see `bench.inputs`."""

    net: dict[str, Any]  # spec, hash of a person's own file, hash of a checkpoint, pretrained or not
    data: dict[str, Any]  # name, shape, classes, counts, mean and std of the training part
    recipe: Recipe
    device: str  # "cpu" or "cuda", and " x4" where four processes train together: results of these differ

    def dense_id(self, seed: int) -> str:
        """Id of the dense network of that seed."""
        recipe = {key: value for key, value in asdict(self.recipe).items() if key not in _DENSE_FIELDS_LEFT_OUT}
        return content_id(
            {
                "schema": SCHEMA,
                "net": self.net,
                "data": self.data,
                "recipe": recipe,
                "seed": seed,
                "device": self.device,
            }
        )

    def stage_id(self, before: str, stage: Stage, seed: int) -> str:
        """Id of what `stage` makes of the network with id `before`."""
        held = {"results": RESULTS, "before": before, "stage": stage.text, "recipe": asdict(self.recipe), "seed": seed}
        return content_id(held | ({"contents": stage.contents} if stage.contents else {}))


@dataclass(frozen=True)
class Case:
    """One row: a chain on one seed's dense network. `chain` is None for the dense network itself."""

    source: Source
    chain: Chain | None
    seed: int
    runtimes: tuple[str, ...]
    threads: int
    role: Role = "asked"  # neither this nor the next is part of the id: the row is the same
    control_of: tuple[str, ...] = ()
    refusal: str = ""  # why it cannot run, where that is known beforehand

    @property
    def label(self) -> str:
        return self.chain.label if self.chain else "dense"

    @property
    def text(self) -> str:
        return self.chain.text if self.chain else "dense"

    @property
    def writing(self) -> Writing:
        """How its file is written."""
        return self.chain.stages[-1].method.writing if self.chain and self.chain.stages else "smallest"

    @functools.cached_property
    def stage_ids(self) -> tuple[str, ...]:
        """Ids of the dense network and of each stage's result."""
        ids = [self.source.dense_id(self.seed)]
        for stage in self.chain.stages if self.chain else ():
            ids.append(self.source.stage_id(ids[-1], stage, self.seed))
        return tuple(ids)

    @functools.cached_property
    def id(self) -> str:
        """Hashes all that the row depends on."""
        return content_id(
            {"schema": SCHEMA, "network": self.stage_ids[-1], "runtimes": self.runtimes, "threads": self.threads}
        )


@dataclass(frozen=True)
class Row:
    """A chain that was not asked for, and why it is there."""

    chain: Chain
    role: Role
    control_of: tuple[str, ...]  # canonical texts of the chains that it is compared with
    refusal: str = ""


@dataclass(frozen=True)
class Plan:
    """All cases of a run, the dense network of each seed before the chains on it."""

    cases: tuple[Case, ...]
    command: str

    @property
    def id(self) -> str:
        return content_id([case.id for case in self.cases])

    def of(self, case_id: str) -> Case:
        """The case of that id.

        Raises:
            KeyError: there is none.
        """
        return self._by_id[case_id]

    @functools.cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.id: case for case in self.cases}

    @functools.cached_property
    def has_seeds(self) -> bool:
        """Whether there is more than one seed."""
        return len({case.seed for case in self.cases}) > 1


def make_plan(
    source: Source,
    chains: tuple[Chain, ...],
    *,
    added: tuple[Row, ...] = (),
    seeds: tuple[int, ...],
    runtimes: tuple[str, ...],
    threads: int,
    command: str,
) -> Plan:
    """The plan with a dense case and a case a chain, for each seed, and then those of the rows that are added.

    Controls, which are there for their accuracy and bytes, run in the first runtime alone; parts and orders of chains,
    which are held against them in speed as well, in all.
    """
    cases = [Case(source, chain, seed, runtimes, threads) for seed in seeds for chain in (None, *chains)]
    for seed in seeds:
        for row in added:
            own = runtimes if row.role in _FOR_SPEED else runtimes[:1]
            cases.append(Case(source, row.chain, seed, own, threads, row.role, row.control_of, row.refusal))
    return Plan(tuple(cases), command)
