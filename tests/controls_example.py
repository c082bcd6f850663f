"""A maker of runs with controls: each accuracy is exact, so that a claim of a report holds or fails by design."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.records import Accuracy, Measurement, Role, RunRecord
from tests.records_example import failed, record

SEEN = 10_000
LAYERS = (("conv1", (20, 1, 5, 5)), ("fc1", (500, 800)), ("fc2", (10, 500)))
PRUNE, PTQ, DISTILL = "prune:sparsity=0.9:score=magnitude", "ptq:bits=8", "distill:student=student1:loss=kd"
RANDOM, UNTAUGHT = "prune:sparsity=0.9:score=random:rates=magnitude", "distill:student=student1:loss=none"


def row(
    chain: str,
    correct: int,
    *,
    seed: int = 0,
    share: float = 1.0,
    speed: float = 1.0,
    role: Role = "asked",
    of: Sequence[str] = (),
    epochs: int | None = None,
    net: str = "resnet18",
) -> RunRecord:
    """A row with exactly `correct` of SEEN test images, a file of about `share` of dense's, `speed` times its latency.

    epochs: those beyond its dense network; not set: what the chain's stages are given.
    """
    like = "dense" if chain == "dense" else "prune"
    one = record(chain, like=like, seed=seed, layers=LAYERS, share=share, runtimes=("eager",))
    scored = Accuracy(correct, min(SEEN, correct + 50), SEEN)
    dense = (Measurement("latency", "s", (0.01,) * 20, {"batch": 1}),)
    own = (Measurement("latency", "s", (0.01 * speed,) * 20, {"batch": 1}),)
    results = tuple(
        dataclasses.replace(r, accuracy=scored, measurements=own, dense_measurements=() if chain == "dense" else dense)
        for r in one.runtimes
    )
    training = one.training
    if epochs is not None:
        training = tuple(dataclasses.replace(record("qat").training[-1], epoch=i + 1) for i in range(epochs))
    one = dataclasses.replace(one, runtimes=results, training=training, net=net)
    return dataclasses.replace(
        one, role=role, control_of=tuple(of), label="+".join(stage.partition(":score")[0] for stage in chain.split("+"))
    )


def sized(one: RunRecord, file_bytes: int) -> RunRecord:
    """The record with a file of exactly so many bytes."""
    return dataclasses.replace(one, file_bytes=file_bytes)


def controlled(seeds: Sequence[int] = (0,)) -> list[RunRecord]:
    """Dense, prune, ptq, distill and prune+ptq with all their controls, one of them refused."""
    records = []
    for seed in seeds:
        chain = f"{PRUNE}+{PTQ}"
        up = 3 * seed  # of images: seeds differ, alike for all rows
        records += [
            sized(row("dense", 9700 + up, seed=seed), 1_000_000),
            sized(row(PRUNE, 9680 + up, seed=seed, epochs=2), 150_000),
            sized(row(DISTILL, 9500 + up, seed=seed, epochs=6), 120_000),
            sized(row(chain, 9660 + up, seed=seed, speed=0.5, epochs=2), 40_000),
            sized(row("longer:extra=2", 9720 + up, seed=seed, role="longer", of=[PRUNE, chain], epochs=2), 1_000_000),
            sized(row("small:bytes=150000", 9300 + up, seed=seed, role="small", of=[PRUNE]), 151_000),
            sized(row("small:bytes=30000", 9000 + up, seed=seed, role="small", of=["other"]), 30_000),
            sized(row(RANDOM, 9100 + up, seed=seed, role="random", of=[PRUNE], epochs=2), 152_000),
            sized(row("half", 9701 + up, seed=seed, role="half", epochs=0), 500_000),
            sized(row("xz", 9700 + up, seed=seed, role="xz", epochs=0), 920_000),
            sized(row(UNTAUGHT, 9300 + up, seed=seed, role="untaught", of=[DISTILL], epochs=6), 120_100),
            sized(row(PTQ, 9695 + up, seed=seed, role="part", of=[chain], speed=0.5, epochs=0), 250_000),
            refused_control("small", f"small:like='{chain}'", [chain], "one channel a layer is larger", seed),
        ]
    return records


def refused_control(role: Role, chain: str, of: Sequence[str], reason: str, seed: int = 0) -> RunRecord:
    """A control that cannot be."""
    one = failed(chain, status="refused", reason=reason, seed=seed)
    return dataclasses.replace(one, role=role, control_of=tuple(of))


def changed(records: Sequence[RunRecord], chain: str, correct: int, *, seed: int | None = None) -> list[RunRecord]:
    """The records with another number of right images in the rows of one chain, of all seeds or of one."""
    found = []
    for one in records:
        if one.chain == chain and seed in (None, one.seed):
            scored = Accuracy(correct, min(SEEN, correct + 50), SEEN)
            results = tuple(dataclasses.replace(r, accuracy=scored) for r in one.runtimes)
            one = dataclasses.replace(one, runtimes=results)
        found.append(one)
    return found


def without(records: Sequence[RunRecord], *chains: str) -> list[RunRecord]:
    """The records without the rows of these chains."""
    return [one for one in records if one.chain not in chains]
