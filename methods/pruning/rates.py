"""How much of each layer is dropped: a budget of entries for each tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from methods.pruning.patterns import DROPPED, Pattern
from methods.selection import lightest


def global_budgets(units: Sequence[tuple[Tensor, Tensor]], sparsity: float) -> list[int]:
    """Entries to drop of each tensor where one threshold serves all. units: scores and sizes, as patterns give them."""
    scores, sizes = (torch.cat([pair[side] for pair in units]) for side in (0, 1))
    dropped = lightest(scores, sizes, round(sparsity * int(sizes.sum())))
    parts = torch.where(dropped, sizes, 0).split([len(score) for score, _ in units])
    return [int(part.sum()) for part in parts]


def uniform_budgets(sizes: Sequence[int], sparsity: float) -> list[int]:
    """The same share of each tensor."""
    return [round(sparsity * size) for size in sizes]


def shares_to(target: float, step: float) -> list[float]:
    """Sparsities that rise to `target`, each dropping the fraction `step` of what is left."""
    shares = []
    left = 1 - step
    while 1 - left < target - 1e-9:
        shares.append(1 - left)
        left *= 1 - step
    return [*shares, target]


def compound_budgets(sizes: Sequence[int], rates: Sequence[float], sparsity: float) -> list[int]:
    """Entries to drop of each tensor where one of rate p keeps the share (1 - p)^t, t such that `sparsity` is reached
    in all (Park et al. 2020, arXiv 2002.04809, section 3).

    Raises:
        ValueError: no t reaches it, as tensors of rate 0 are never pruned.
    """
    kept = (1 - sparsity) * sum(sizes)
    never = sum(size for size, rate in zip(sizes, rates, strict=True) if rate == 0)
    if kept < never:
        most = 1 - never / sum(sizes)
        raise ValueError(f"the preset never prunes {never} of {sum(sizes)} weights, so a sparsity of {sparsity:g} is "
                         f"out of reach: at most {most:g}")  # fmt: skip
    low, high = 0.0, 1.0
    while compound_kept(sizes, rates, high) > kept and high < 1e6:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if compound_kept(sizes, rates, middle) > kept else (low, middle)
    return [round(size * (1 - (1 - rate) ** high)) for size, rate in zip(sizes, rates, strict=True)]


def compound_kept(sizes: Sequence[int], rates: Sequence[float], steps: float) -> float:
    """Entries that are left after so many steps."""
    return sum(size * (1 - rate) ** steps for size, rate in zip(sizes, rates, strict=True))


def normalised(scores: Sequence[Tensor]) -> list[Tensor]:
    """Scores divided by the root of their tensor's sum of squares, as "global normalize" of the code of Park et al.
    2020 (arXiv 2002.04809) has it: an entry of a large tensor counts for less than one of a small tensor."""
    return [score / score.norm().clamp(min=torch.finfo(score.dtype).tiny) for score in scores]


def within_budget(pattern: Pattern, score: Tensor, keep: Tensor, budget: int) -> Tensor:
    """Which entries are kept, bool of the score's shape: units of the lowest scores are dropped while they fit into
    `budget` entries, and what is dropped already, or cannot be kept in this pattern, whatever the budget."""
    scores, sizes = pattern.units(score, keep)
    dropped = lightest(scores, sizes, budget) | (scores == DROPPED)
    return pattern.entries(~dropped, score.shape) & keep
