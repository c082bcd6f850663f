"""Which cases wait for which, so that no network is trained twice at the same time."""

from __future__ import annotations

from collections.abc import Callable, Collection

from bench.estimate import Sizes, needed
from bench.plan import Plan


def waits(plan: Plan, sizes: Sizes, has: Callable[[str], bool], finished: Collection[str]) -> dict[str, frozenset[str]]:
    """Of each case that is not finished, by id: the ids of the cases that have to be made before it.

    A network that several cases need and the cache has not is made by the first of them in the plan; and every file is
    measured beside the dense one of its seed.

    has: whether the cache has the network of an id. finished: ids of cases that need no more work.
    """
    maker: dict[str, str] = {}  # by id of a network: the case that makes it
    dense: dict[int, str] = {}  # by seed
    found: dict[str, frozenset[str]] = {}
    for case in plan.cases:
        if case.id in finished:
            continue
        missing = [one for one in needed(case, sizes, has) if not has(one)]
        before = {maker.setdefault(one, case.id) for one in missing}
        if case.chain is None:
            dense[case.seed] = case.id
        elif case.seed in dense and not case.refusal:
            before.add(dense[case.seed])
        found[case.id] = frozenset(before - {case.id})
    return found
