"""Latency as raw samples: dense and compressed by turns in one process, so that drift of the machine hits both alike.

Statistics are left to the reports. Sample i of the one and sample i of the other were taken next to each other.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from baselines.collector import collector_off
from bench.records import Measurement

Run = Callable[[], object]  # one forward pass; its end is the end of the work, also on a GPU
UNSTABLE = 0.1  # an interquartile range above this share of the median is called unstable


@dataclass(frozen=True)
class Sampling:
    """How many samples to take: as many as fit the budget, within bounds."""

    budget_s: float
    min_samples: int
    max_samples: int = 100
    warmup_min: int = 3
    warmup_max: int = 10
    warmup_share: float = 0.1  # of the budget

    @classmethod
    def of(cls, batch: int, budget_s: float) -> Sampling:
        """At least 20 samples of single images, at least 8 of batches."""
        return cls(budget_s=budget_s, min_samples=20 if batch == 1 else 8)


def interleaved(
    runs: Sequence[Run], sampling: Sampling, clock: Callable[[], float] = time.perf_counter
) -> tuple[int, tuple[tuple[float, ...], ...]]:
    """Times `runs` by turns, forwards and backwards alternately.

    Returns: (warm-up passes of each run, samples in seconds of each run, equally many). The bounds on samples come
    before the budget: slow runs exceed it.
    """
    gc.collect()
    with collector_off():
        for run in runs:
            run()  # outside the budget: a runtime may compile now
        warmup = 1
        begin = clock()
        while warmup < sampling.warmup_min or (
            warmup < sampling.warmup_max and clock() - begin < sampling.warmup_share * sampling.budget_s
        ):
            for run in runs:
                run()
            warmup += 1
        samples: list[list[float]] = [[] for _ in runs]
        while (count := len(samples[0])) < sampling.min_samples or (
            count < sampling.max_samples and clock() - begin < sampling.budget_s
        ):
            order = range(len(runs)) if count % 2 == 0 else reversed(range(len(runs)))
            for index in order:
                start = clock()
                runs[index]()
                samples[index].append(clock() - start)
    return warmup, tuple(tuple(one) for one in samples)


def spread(samples: Sequence[float]) -> float:
    """Interquartile range / median; 0 for fewer than two samples."""
    if len(samples) < 2:
        return 0.0
    low, median, high = statistics.quantiles(samples, n=4)
    return (high - low) / median if median > 0 else 0.0


def latency(samples: tuple[float, ...], protocol: dict[str, Any]) -> Measurement:
    """Samples in seconds as a measurement; a wide spread is noted in its protocol."""
    relative = spread(samples)
    if relative > UNSTABLE:
        note = f"unstable: the interquartile range is {relative:.0%} of the median; quieten the machine and run again"
        protocol = {**protocol, "note": note}
    return Measurement("latency", "s", samples, protocol)
