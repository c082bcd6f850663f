"""Rows that nobody typed: controls, which every method has to beat, and a chain's other orders.

What a run gets unless `--no-controls` (docs/decisions/0015-controls.md):
  longer    the dense network trained on, for as many extra epochs as rows get: of all such numbers the smallest, the
            largest and the most common
  small     a narrower dense network of the same bytes: for 4 rows at most
  half, xz  the dense network in 16 bits, and its file packed by a general compressor
  own       what a method says it must beat (`CompressionMethod.controls`): for 12 rows at most
  part      each method of a chain alone: of 12 at most
Where there are more rows than that, those that get one are spread evenly over the plan's order.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from baselines.training import Recipe
from bench.grammar import Chain, Methods, impossible, parse_chain, stage_of
from bench.plan import Row
from bench.records import Role
from methods.quoting import quoted

_MOST_SMALL, _MOST_OWN, _MOST_PARTS = 4, 12, 12
_DENSE_FILE: tuple[Role, ...] = ("half", "xz")  # roles that are also the names of their methods
_LONGER, _SMALL = "longer:extra={}", "small:like={}"


def controls_of(chains: Sequence[Chain], methods: Methods, recipe: Recipe) -> tuple[tuple[Row, ...], list[str]]:
    """The controls of the chains that were asked for, each once, and a line on each kind that not all rows get."""
    said: list[str] = []
    rows = [
        *_longer(chains, methods, recipe),
        *_small(chains, methods, said),
        *(_dense_file(role, chains, methods) for role in _DENSE_FILE if role in methods),
        *_few(list(_own(chains)), _MOST_OWN, "controls that methods name", said),
        *_few(list(_parts(chains)), _MOST_PARTS, "parts of chains alone", said),
    ]
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
    """Rows of the same chain become one, the first, of all that they belong to; none that was asked for."""
    kept: dict[str, Row] = {}
    taken = {chain.text for chain in asked}
    for row in rows:
        text = row.chain.text
        if text in taken:
            continue
        before = kept.setdefault(text, row)
        belongs = tuple(dict.fromkeys((*before.control_of, *row.control_of)))
        kept[text] = dataclasses.replace(before, control_of=belongs)
    return tuple(kept.values())


def _longer(chains: Sequence[Chain], methods: Methods, recipe: Recipe) -> Iterator[Row]:
    if "longer" not in methods:
        return
    extra = {chain.text: chain.epochs(recipe.finetune_epochs, recipe.epochs) for chain in chains}
    counts = Counter(epochs for epochs in extra.values() if epochs)
    if not counts:
        return
    common = min(counts, key=lambda epochs: (-counts[epochs], epochs))
    for epochs in sorted({min(counts), common, max(counts)}):
        texts = tuple(text for text, own in extra.items() if own == epochs)
        yield Row(parse_chain(_LONGER.format(epochs), methods), "longer", texts)


def _small(chains: Sequence[Chain], methods: Methods, said: list[str]) -> Iterator[Row]:
    if "small" not in methods:
        return
    rows = [
        Row(parse_chain(_SMALL.format(quoted(chain.text)), methods), "small", (chain.text,))
        for chain in chains
        if "small" not in [stage.name for stage in chain.stages]
    ]
    yield from _few(rows, _MOST_SMALL, "small dense networks of the same bytes", said)


def _dense_file(role: Role, chains: Sequence[Chain], methods: Methods) -> Row:
    return Row(parse_chain(role, methods), role, tuple(chain.text for chain in chains))


def _own(chains: Sequence[Chain]) -> Iterator[Row]:
    """What each stage's method says that it must beat, in the place of that stage."""
    for chain in chains:
        for index, stage in enumerate(chain.stages):
            for role, method in stage.method.controls().items():
                other = stage_of(stage.name, method, stage.chains)
                stages = (*chain.stages[:index], other, *chain.stages[index + 1 :])
                control = Chain(stages)
                yield Row(control, cast(Role, role), (chain.text,), impossible(control) or "")


def _parts(chains: Sequence[Chain]) -> Iterator[Row]:
    for chain in chains:
        if len(chain.stages) > 1:
            yield from (Row(Chain((stage,)), "part", (chain.text,)) for stage in chain.stages)


def _few(rows: Sequence[Row], most: int, what: str, said: list[str]) -> Sequence[Row]:
    """At most so many chains of `rows`, the first and the last among them, spread evenly; says what is left out."""
    texts = list(dict.fromkeys(row.chain.text for row in rows))
    if len(texts) <= most:
        return rows
    kept = {texts[round(step * (len(texts) - 1) / (most - 1))] for step in range(most)}
    said.append(f"{what}: {most} of {len(texts)} are run, spread evenly; type the others to have them")
    return [row for row in rows if row.chain.text in kept]
