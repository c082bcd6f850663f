"""How much of each layer is dropped: a budget of entries for each tensor, those that are zero already among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from methods.pruning.patterns import DROPPED, Pattern
from methods.selection import lightest


def global_budgets(units: Sequence[tuple[Tensor, Tensor]], sparsity: float, entries: Sequence[int] = ()) -> list[int]:
    """Entries to drop of each tensor where one threshold serves all.

    units: scores and sizes, as patterns give them. entries: of each tensor; left out, none is zero yet.
    """
    scores, sizes = (torch.cat([pair[side] for pair in units]) for side in (0, 1))
    entries = entries or [int(size.sum()) for _, size in units]
    dropped = going(scores, sizes, sum(entries), round(sparsity * sum(entries)))
    parts = torch.where(dropped, 0, sizes).split([len(score) for score, _ in units])
    return [total - int(part.sum()) for total, part in zip(entries, parts, strict=True)]


def going(scores: Tensor, sizes: Tensor, entries: int, budget: int) -> Tensor:
    """Which units go, bool [units]: those that are bound to, and the lightest of the others while all zeros among the
    `entries` of them add up to `budget` at most."""
    dropped = scores == DROPPED
    rest = ~dropped
    zeros = entries - int(sizes[rest].sum())
    dropped[rest] = lightest(scores[rest], sizes[rest], max(0, budget - zeros))
    return dropped


def uniform_budgets(sizes: Sequence[int], sparsity: float, held: Sequence[int] = ()) -> list[int]:
    """The same share of each tensor, but of one that has lost more what it has lost. held: zeros of each so far."""
    budgets = [round(sparsity * size) for size in sizes]
    return shared(budgets, held, round(sparsity * sum(sizes)), lambda share: [share * size for size in sizes], sparsity)


def shared(
    budgets: list[int], held: Sequence[int], total: int, drops: Callable[[float], list[float]], most: float
) -> list[int]:
    """Budgets that keep the zeros there are: `budgets` where none has more, else by lower rates that give `total`.

    drops: what a rate up to `most` drops of each tensor, rising from nothing.
    """
    if all(zeros <= budget for zeros, budget in zip(held, budgets, strict=False)):
        return budgets
    if sum(held) >= total:
        return list(held)
    low, high = 0.0, most
    for _ in range(100):
        middle = (low + high) / 2
        enough = sum(max(pair) for pair in zip(held, drops(middle), strict=True)) >= total
        low, high = (low, middle) if enough else (middle, high)
    return [max(zeros, round(drop)) for zeros, drop in zip(held, drops(high), strict=True)]


def shares_to(target: float, step: float) -> list[float]:
    """Sparsities that rise to `target`, each dropping the fraction `step` of what is left."""
    shares = []
    left = 1 - step
    while 1 - left < target - 1e-9:
        shares.append(1 - left)
        left *= 1 - step
    return [*shares, target]


def compound_budgets(
    sizes: Sequence[int], rates: Sequence[float], sparsity: float, held: Sequence[int] = ()
) -> list[int]:
    """Entries to drop of each tensor where one of rate p keeps the share (1 - p)^t, or what it has left if that is
    less, t such that `sparsity` is reached in all (Park et al. 2020, arXiv 2002.04809, section 3).

    held: zeros of each tensor so far; left out, none.

    Raises:
        ValueError: no t reaches it, as tensors of rate 0 are never pruned.
    """
    kept = (1 - sparsity) * sum(sizes)
    held = held or [0] * len(sizes)
    never = sum(size - zeros for size, rate, zeros in zip(sizes, rates, held, strict=True) if rate == 0)
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

    def drops(steps: float) -> list[float]:
        return [size * (1 - (1 - rate) ** steps) for size, rate in zip(sizes, rates, strict=True)]

    return shared([round(drop) for drop in drops(high)], held, round(sparsity * sum(sizes)), drops, high)


def compound_kept(sizes: Sequence[int], rates: Sequence[float], steps: float) -> float:
    """Entries that are left after so many steps."""
    return sum(size * (1 - rate) ** steps for size, rate in zip(sizes, rates, strict=True))


def normalised(scores: Sequence[Tensor]) -> list[Tensor]:
    """Scores divided by the root of their tensor's sum of squares, as "global normalize" of the code of Park et al.
    2020 (arXiv 2002.04809) has it: an entry of a large tensor counts for less than one of a small tensor."""
    return [score / score.norm().clamp(min=torch.finfo(score.dtype).tiny) for score in scores]


def within_budget(pattern: Pattern, score: Tensor, keep: Tensor, budget: int) -> Tensor:
    """Which entries are kept, bool of the score's shape: units of the lowest scores are dropped while all zeros fit
    into `budget` entries, and what is dropped already, or cannot be kept in this pattern, whatever the budget."""
    dropped = going(*pattern.units(score, keep), score.numel(), budget)
    return pattern.entries(~dropped, score.shape) & keep
