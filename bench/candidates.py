"""Suggestions of a search as far as they came, the best of them, and those that no other beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.goals import Goal
from bench.laboratory import UNTRAINED


@dataclass(frozen=True)
class Candidate:
    """One suggestion, as far as it came."""

    number: int
    label: str  # the chain as it is typed
    chain: str
    status: Literal["whole", "stopped", "refused"]  # whole: it had the whole budget
    reason: str = ""
    epochs: int = UNTRAINED  # of fine-tuning a stage, at its last trial
    size_bytes: int = 0
    drop: float = math.nan  # points of validation accuracy, at its last trial
    params: int = 0
    macs: int = 0
    latency_s: float = math.nan
    excess: float = math.inf  # beyond the limits, 0 within them
    gain: float = -math.inf  # of what is made least, in doublings below dense, or points
    seconds: float = 0.0  # of all its trials


def best_of(candidates: Sequence[Candidate]) -> Candidate | None:
    """Of those that had the whole budget and keep all limits the one that gains most, the lesser drop before."""
    kept = [one for one in candidates if one.status == "whole" and one.excess <= 0]
    return max(kept, key=lambda one: (one.gain, -one.drop), default=None)


def front_of(candidates: Sequence[Candidate], goal: Goal, most: int = 8) -> list[Candidate]:
    """Those of the whole budget that no other beats in both the drop and what is made least (its size, where that is
    the drop); of too many those nearest to the limits; the smallest drop first."""
    costs = {
        one: (float(one.size_bytes) if goal.least == "drop" else -one.gain, one.drop)
        for one in reversed(candidates)
        if one.status == "whole"
    }
    front = {
        cost: one
        for one, cost in costs.items()
        if not any(other != cost and other[0] <= cost[0] and other[1] <= cost[1] for other in costs.values())
    }
    nearest = sorted(front.values(), key=lambda one: (one.excess, -one.gain))[:most]
    return sorted(nearest, key=lambda one: costs[one][::-1])
