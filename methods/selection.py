"""Marking entries by rank."""

from __future__ import annotations

import torch
from torch import Tensor


def smallest(values: Tensor, count: int) -> Tensor:
    """Marks exactly `count` smallest entries of a vector, the first among equals; bool [n]."""
    if count == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    threshold = values.kthvalue(count).values
    below = values < threshold
    level = values == threshold
    return below | (level & (level.cumsum(0) <= count - below.sum()))
