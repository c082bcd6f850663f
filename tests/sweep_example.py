"""A maker of runs that sweep spectral methods beside their controls, with planted accuracies. Numbers are invented."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

from bench.records import Accuracy, RunRecord
from tests.records_example import failed, record

KEEPS = (0.5, 0.25, 0.125, 0.0625, 0.03125)
SCOPES = ("linear", "conv", "all")
BASES = (
    "dct", "dst", "dft", "wavelet:family=haar", "wavelet:family=db2", "wavelet:family=db4", "wavelet:family=sym4",
    "hadamard",
)  # fmt: skip
METHODS = (*BASES, "random_basis", "lowrank", "prune")
IN_SCOPE = {"linear": 0.6, "conv": 0.4, "all": 1.0}  # of the dense bytes
LAYERS = (("conv1", (20, 1, 5, 5)), ("conv2", (50, 20, 5, 5)), ("fc1", (500, 800)), ("fc2", (10, 500)))
DENSE = 0.99

Planted = Callable[[str, str, float, int], float]  # method, scope, fraction kept, seed -> accuracy


def plain(method: str, scope: str, keep: float, seed: int) -> float:
    """All bases as good as the random one, `lowrank` better, `prune` best; each row a little off by chance."""
    cost = {"lowrank": 0.002, "prune": 0.0005}.get(method, 0.004)
    chance = random.Random(f"{method} {scope} {keep} {seed}").uniform(-0.0008, 0.0008)
    return DENSE - cost * (1 / keep - 1) * IN_SCOPE[scope] + chance


def equal(method: str, scope: str, keep: float, seed: int) -> float:
    """All methods alike, to the image."""
    return DENSE - 0.004 * (1 / keep - 1) * IN_SCOPE[scope]


def cosine_wins(method: str, scope: str, keep: float, seed: int) -> float:
    """`dct` five points above what it would be, the rest as in `plain`."""
    return min(1.0, plain(method, scope, keep, seed) + 0.05 * (method == "dct"))


def spectral_run(
    planted: Planted = plain,
    *,
    methods: Sequence[str] = METHODS,
    scopes: Sequence[str] = SCOPES,
    keeps: Sequence[float] = KEEPS,
    seeds: Sequence[int] = (0,),
    seen: int = 10_000,
    runtimes: Sequence[str] = ("eager",),
) -> list[RunRecord]:
    """Dense and a row for each method, scope and fraction kept, in plan order, for each seed."""
    records = []
    for seed in seeds:
        records.append(_scored(record("dense", seed=seed, layers=LAYERS, runtimes=runtimes), DENSE, seen))
        for method in methods:
            for scope in scopes:
                for keep in keeps:
                    one = _row(method, scope, keep, seed, runtimes)
                    records.append(_scored(one, planted(method, scope, keep, seed), seen))
    return records


def with_troubles(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Every ninth row failed, every eleventh refused, dense ones not."""
    found = []
    for index, one in enumerate(records):
        status = "failed" if index % 9 == 5 else "refused" if index % 11 == 7 else "ok"
        if status != "ok" and one.chain != "dense":
            bad = failed(one.chain, status=status, reason=f"no layer of it can shrink ({status})", seed=one.seed)
            one = dataclasses.replace(bad, label=one.label)
        found.append(one)
    return found


def chain_of(method: str, scope: str, keep: float) -> tuple[str, str]:
    """The canonical text of a row's chain, and what is typed for it."""
    name, _, settings = method.partition(":")
    if name == "prune":
        typed = f"prune:sparsity={1 - keep}:layers={scope}"
        return typed, typed
    own = {"random_basis": ":draw=0"}.get(name, f":{settings}" if settings else "")
    return f"{name}:keep={keep}:calibration=256:layers={scope}{own}", f"{method}:keep={keep}:layers={scope}"


def _row(method: str, scope: str, keep: float, seed: int, runtimes: Sequence[str]) -> RunRecord:
    chain, label = chain_of(method, scope, keep)
    stored = min(1.0, keep * {"prune": 1.3, "lowrank": 0.97}.get(method, 1.0))
    share = 1 - IN_SCOPE[scope] * (1 - stored)
    kind = "prune" if method == "prune" else "dct"
    return record(
        chain, label=label, like=kind, seed=seed, layers=LAYERS, runtimes=runtimes, share=share, speed=0.4 + share / 2
    )


def _scored(one: RunRecord, accuracy: float, seen: int) -> RunRecord:
    """The record with exactly this accuracy in all its runtimes."""
    correct = min(seen, max(0, round(accuracy * seen)))
    scored = Accuracy(correct, min(seen, correct + seen // 100), seen)
    return dataclasses.replace(one, runtimes=tuple(dataclasses.replace(r, accuracy=scored) for r in one.runtimes))
