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


def lightest(values: Tensor, sizes: Tensor, budget: int) -> Tensor:
    """Marks the smallest entries of a vector, the first among equals, while their sizes add up to `budget` at most.

    values, sizes: [n], sizes whole and at least 1 -> bool [n]
    """
    if int(sizes.sum()) == len(sizes):
        return smallest(values, min(budget, len(values)))
    order = values.argsort(stable=True)
    marked = torch.zeros_like(values, dtype=torch.bool)
    marked[order] = sizes[order].cumsum(0) <= budget
    return marked
