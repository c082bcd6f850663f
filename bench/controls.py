"""Rows that nobody typed: controls, which every method has to beat, and a chain's other orders.

What a run gets unless `--no-controls` (docs/decisions/0015-controls.md):
  longer    the dense network trained on, for as many extra epochs as rows get: of all such numbers the smallest, the
            largest and the most common
  small     a narrower dense network of the same bytes: for 4 rows at most, and none where the dense network is not
            trained here, as one that is given with its weights
  half, xz  the dense network in 16 bits, and its file packed by a general compressor
  own       what a method says it must beat (`CompressionMethod.controls`): for 12 rows at most
  part      each method of a chain alone: of 12 at most
Where there are more than that, those that serve several rows come first, then such as are spread evenly over the plan.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from baselines.training import Recipe
from bench.chains import Chain, Stage, impossible, stage_of
from bench.grammar import Methods
from bench.plan import Row
from bench.records import Role
from methods.base import CompressionMethod, Effect
from methods.quoting import quoted

_MOST_SMALL, _MOST_OWN, _MOST_PARTS = 4, 12, 12


def controls_of(chains: Sequence[Chain], methods: Methods, recipe: Recipe) -> tuple[tuple[Row, ...], list[str]]:
    """The controls of the chains that were asked for, each once, and a line on each kind that not all rows get.

    methods: the table; its methods that are named after a role are the controls of that role.
    """
    trained = chains if recipe.epochs else ()  # a narrower network would stay as untrained as it begins
    made: list[tuple[Sequence[Row | None], int, str]] = [
        (list(_longer(chains, methods, recipe)), len(chains), ""),
        ([_alone("small", methods, (chain,), like=chain.text) for chain in trained], _MOST_SMALL, "small"),
        ([_alone(role, methods, chains) for role in ("half", "xz")], len(chains), ""),
        (list(_own(chains)), _MOST_OWN, "random and untaught"),
        (list(_parts(chains)), _MOST_PARTS, "part"),
    ]
    rows: list[Row] = []
    said = [] if trained else ["no narrower dense network is compared with: the recipe has no epochs to train it"]
    for found, most, what in made:
        some = [row for row in found if row is not None]
        kept = _few(some, most) if what else some
        rows += kept
        if len(kept) < len(some):
            said.append(
                f"controls ({what}) are made for {most} chains, spread evenly: type others as rows of their own"
            )
    return _each_once(rows, chains), said


def orders_of(chains: Sequence[Chain]) -> tuple[Row, ...]:
    """Every other order of each chain, each once; those that cannot work with the reason."""
    rows = [
        Row(other, "order", (chain.text,), impossible(other) or "")
        for chain in chains
        for other in map(Chain, itertools.permutations(chain.stages))
    ]
    return _each_once(rows, chains)


def _each_once(rows: Iterable[Row], asked: Sequence[Chain]) -> tuple[Row, ...]:
    """Rows of the same chain become one, the first, of all that they belong to in its role; none that was asked for.

    A chain that is two things, the part of one row and the control of another, is the first of them alone: as a part
    it is found by its text.
    """
    kept: dict[str, Row] = {}
    taken = {chain.text for chain in asked}
    for row in rows:
        text = row.chain.text
        if text not in taken:
            before = kept.setdefault(text, row)
            if before.role == row.role:
                belongs = tuple(dict.fromkeys((*before.control_of, *row.control_of)))
                kept[text] = dataclasses.replace(before, control_of=belongs)
    return tuple(kept.values())


def _alone(role: Role, methods: Methods, of: Sequence[Chain], **settings: Any) -> Row | None:
    """The row of the method that is named as the role, by itself; None where the table has none."""
    if role not in methods:
        return None
    stage = stage_of(role, methods[role](**settings), *(of if "like" in settings else ()))
    if "like" in settings:  # the other chain as it was typed, not with every hyperparameter
        stage = dataclasses.replace(stage, label=f"{role}:like={quoted(of[0].label)}")
    return Row(Chain((stage,)), role, tuple(chain.text for chain in of))


def _longer(chains: Sequence[Chain], methods: Methods, recipe: Recipe) -> Iterator[Row | None]:
    extra = {chain.text: chain.epochs(recipe.finetune_epochs, recipe.epochs) for chain in chains}
    counts = Counter(epochs for epochs in extra.values() if epochs)
    if not counts:
        return
    common = min(counts, key=lambda epochs: (-counts[epochs], epochs))
    for epochs in sorted({min(counts), common, max(counts)}):
        yield _alone("longer", methods, [chain for chain in chains if extra[chain.text] == epochs], extra=epochs)


def _own(chains: Sequence[Chain]) -> Iterator[Row]:
    """What each stage's method says that it must beat, in the place of that stage."""
    for chain in chains:
        for index, stage in enumerate(chain.stages):
            for role, method in stage.method.controls().items():
                other = stage_of(stage.name, method, *stage.chains, contents=_remaining(stage, method))
                makes = method.effect is Effect.MAKES_NETWORK  # whatever was before it
                control = Chain((*(() if makes else chain.stages[:index]), other, *chain.stages[index + 1 :]))
                yield Row(control, cast(Role, role), (chain.text,), impossible(control) or "")


def _remaining(stage: Stage, method: CompressionMethod) -> tuple[str, ...]:
    """Of what the stage's settings hang on, that of settings which `method` has as well, with the same value."""
    before, now = stage.settings, dataclasses.replace(stage, method=method).settings
    same = {key for key, value in now.items() if before.get(key) == value}
    inner = tuple(content for chain in stage.chains for content in chain.contents)
    own = stage.contents[: len(stage.contents) - len(inner)]
    return (*(content for content in own if content.partition(" ")[0] in same), *inner)


def _parts(chains: Sequence[Chain]) -> Iterator[Row]:
    for chain in chains:
        if len(chain.stages) > 1:
            yield from (Row(Chain((stage,)), "part", (chain.text,)) for stage in chain.stages)


def _few(rows: Sequence[Row], most: int) -> Sequence[Row]:
    """The rows of at most so many chains: those that serve several rows first, then of the others the first, the last
    and what lies evenly between them."""
    counts = Counter(row.chain.text for row in rows)
    if len(counts) <= most:
        return rows
    shared = [text for text, count in counts.items() if count > 1][:most]
    others, left = [text for text in counts if text not in shared], most - len(shared)
    kept = {*shared, *(others[round(step * (len(others) - 1) / max(left - 1, 1))] for step in range(left))}
    return [row for row in rows if row.chain.text in kept]
