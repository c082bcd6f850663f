"""Chains of methods: their canonical text, what they take from other chains, and which orders cannot work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from methods.base import CompressionMethod, Pipeline, Wrapper, standing
from methods.quoting import quoted, split

DENSE = "dense"  # the text of a chain of no stage


@dataclass(frozen=True)
class Stage:
    """One method of a chain, ready to run."""

    name: str
    method: CompressionMethod
    label: str  # as typed: the name and what was set
    contents: tuple[str, ...] = ()  # hashes of what its settings name and their text does not tell
    chains: tuple[Chain, ...] = ()  # those that its settings name: the members of an ensemble

    @property
    def text(self) -> str:
        """Canonical: every hyperparameter, in the order of the fields, defaults included, and of a wrapper."""
        return ":".join([self.name, *(f"{key}={value}" for key, value, _ in _settings(self.method))])

    @property
    def settings(self) -> dict[str, str]:
        """Every hyperparameter's value as text, of a wrapper too."""
        return {key: value for key, value, _ in _settings(self.method)}

    @property
    def typed(self) -> frozenset[str]:
        """The fields that were set."""
        return frozenset(part.partition("=")[0] for part in split(self.label, ":")[1:])

    @property
    def taken(self) -> tuple[tuple[Chain, int], ...]:
        """The chains, and offsets of the seed, whose networks it takes."""
        found = {chain.text: chain for chain in self.chains}
        return tuple((found[text], offset) for text, offset in self.method.asks_for())

    def epochs(self, finetune_epochs: int, dense_epochs: int) -> int:
        """Epochs beyond the dense network's, those of the networks that it takes included, each once."""
        own = self.method.epochs(finetune_epochs, dense_epochs)
        others = {
            (offset, *(stage.text for stage in chain.stages[:count])): chain.stages[:count]
            for chain, offset in self.taken
            for count in range(0 if offset else 1, len(chain.stages) + 1)
        }
        made = (
            stages[-1].epochs(finetune_epochs, dense_epochs) if stages else dense_epochs for stages in others.values()
        )
        return own + sum(made)


@dataclass(frozen=True)
class Chain:
    """Methods in sequence: one row of the table. Without any it is the dense network."""

    stages: tuple[Stage, ...]

    @property
    def text(self) -> str:
        return "+".join(stage.text for stage in self.stages) or DENSE

    @property
    def label(self) -> str:
        return "+".join(stage.label for stage in self.stages) or DENSE

    @property
    def contents(self) -> tuple[str, ...]:
        """Hashes of what its stages hang on and its text does not tell."""
        return tuple(content for stage in self.stages for content in stage.contents)

    def epochs(self, finetune_epochs: int, dense_epochs: int) -> int:
        """Epochs beyond the dense network's."""
        return sum(stage.epochs(finetune_epochs, dense_epochs) for stage in self.stages)


def all_stages(chains: Iterable[Chain]) -> Iterator[Stage]:
    """Every stage of the chains, and of the chains that its settings name."""
    for chain in chains:
        for stage in chain.stages:
            yield stage
            yield from all_stages(stage.chains)


def stage_of(name: str, method: CompressionMethod, *chains: Chain, contents: tuple[str, ...] = ()) -> Stage:
    """The stage of a method that nobody typed: its label says what is not as by default.

    chains: those that its settings name, by their canonical texts.
    """
    changed = [f"{key}={value}" for key, value, as_by_default in _settings(method) if not as_by_default]
    inner = tuple(content for chain in chains for content in chain.contents)
    return Stage(name, method, ":".join([name, *changed]), contents or inner, chains)


def _settings(method: CompressionMethod) -> Iterator[tuple[str, str, bool]]:
    """Name, value as text, and whether it goes without saying, of each hyperparameter."""
    if isinstance(method, Wrapper):
        yield from _settings(method.method)
    for field in dataclasses.fields(method):
        if not isinstance(value := getattr(method, field.name), CompressionMethod):
            as_by_default = value == field.default and not isinstance(method, Wrapper)
            yield field.name, quoted(str(value)), as_by_default


def impossible(chain: Chain) -> str | None:
    """The reason why the chain's stages cannot come in this order, or None; known without running any."""
    for index, stage in enumerate(chain.stages):
        for earlier in _standing(chain.stages[:index]):
            if why := stage.method.cannot_follow(earlier.method):
                return f"{stage.name} cannot come after {earlier.name}, {why}; change their order or leave one out"
            for inside in _inside(earlier):
                if why := stage.method.cannot_follow(inside.method):
                    return (
                        f"{stage.name} cannot come after {earlier.name}, which takes what {inside.name} made: {why}; "
                        "leave one of the two out"
                    )
    try:
        Pipeline(tuple(stage.method for stage in chain.stages))
    except ValueError as error:
        return str(error)
    return None


def _standing(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    count = len(standing([stage.method for stage in stages]))
    return stages[len(stages) - count :]


def _inside(stage: Stage) -> Iterator[Stage]:
    """The stages that made what is in the network that `stage` put together of others."""
    for chain, _ in stage.taken:
        for one in _standing(chain.stages):
            yield one
            yield from _inside(one)
