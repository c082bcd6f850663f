"""Mixed precision: how many bits each layer's weights take, from what rounding each alone does to the predictions.

For each layer and each width, the layer alone is rounded and the divergence of the network's predictions from its own
in float32 is taken on training images (Cai et al. 2020, arXiv 2001.00281, equation 2 and section 3.2). Divergences add
up nearly enough, so the widths of least sum under a mean number of bits are a knapsack, solved by a price a bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.base import Refused
from methods.layers import original, weights
from methods.layers.quantization import rounded
from methods.quantization.preparation import fitted_steps

WIDTHS = (8, 6, 5, 4, 3, 2)
_HALVINGS = 60

Costs = Mapping[str, Mapping[int, float]]  # divergence of each layer at each width, by path


def mixed_bits(
    model: GraphModule, fewest: Mapping[str, int], most: int, budget: float, images: Tensor
) -> dict[str, int]:
    """Bits of each layer's weights, by path: `fewest` of the layer to `most`, a mean of at most `budget`.

    images: [n, c, h, w], that predictions are compared on.

    Raises:
        Refused: the mean of `fewest` is above the budget.
    """
    widths = {path: _widths(least, max(least, most)) for path, least in fewest.items()}
    sizes = {path: sum(original(*one[1:]).numel() for one in weights(model.get_submodule(path))) for path in fewest}
    return allocate(divergences(model, widths, images), sizes, budget)


def _widths(least: int, most: int) -> list[int]:
    """What a layer may have, the most first: those of WIDTHS in between, and both ends."""
    return [width for width in range(most, least - 1, -1) if width in (*WIDTHS, least, most)]


@torch.no_grad()
def divergences(model: GraphModule, widths: Mapping[str, Sequence[int]], images: Tensor) -> Costs:
    """Mean divergence of predictions, in nats an image, with one layer's weights rounded to one of its `widths`.

    images: [n, c, h, w].
    """
    model.eval()
    expected = F.log_softmax(model(images), 1)  # [n, classes]
    named = dict(model.named_modules())
    found: dict[str, dict[int, float]] = {}
    for path, its_widths in widths.items():
        found[path] = {}
        for width in its_widths:
            with _rounded(named[path], width):
                got = F.log_softmax(model(images), 1)
            found[path][width] = F.kl_div(got, expected, reduction="batchmean", log_target=True).item()
    return found


@contextmanager
def _rounded(layer: nn.Module, width: int) -> Iterator[None]:
    """Has the layer compute with weights of `width` bits for the while."""
    stored = [original(layer, name) for _, layer, name in weights(layer)]
    values = [getattr(layer, name) for _, layer, name in weights(layer)]
    before = [tensor.clone() for tensor in stored]
    try:
        for tensor, value in zip(stored, values, strict=True):
            tensor.copy_(rounded(value, fitted_steps(value, width), width))
        yield
    finally:
        for tensor, value in zip(stored, before, strict=True):
            tensor.copy_(value)


def allocate(costs: Costs, sizes: Mapping[str, int], budget: float) -> dict[str, int]:
    """Bits of each layer, by path: least sum of `costs` under a mean of `budget` bits over all weights.

    sizes: weights of each layer. A price a bit is sought by halving; what is left of the budget then goes where it buys
    the most.

    Raises:
        Refused: the narrowest widths are beyond the budget already.
    """
    total = sum(sizes.values())
    least = {path: min(widths) for path, widths in costs.items()}
    if _mean(least, sizes) > budget:
        raise Refused(
            f"budget must be at least {_mean(least, sizes):.2f} bits here, got {budget}: layers then have their "
            "fewest, and first_last_bits=0 lets the first and the last layer have fewer"
        )
    low, high = 0.0, 1.0 + max(max(widths.values()) for widths in costs.values()) * max(1, total)
    for _ in range(_HALVINGS):
        price = (low + high) / 2
        low, high = (low, price) if _mean(_at_price(costs, sizes, price), sizes) <= budget else (price, high)
    return _filled(_at_price(costs, sizes, high), costs, sizes, budget)


def _at_price(costs: Costs, sizes: Mapping[str, int], price: float) -> dict[str, int]:
    return {
        path: min(widths, key=lambda width: (widths[width] + price * sizes[path] * width, width))
        for path, widths in costs.items()
    }


def _filled(choice: dict[str, int], costs: Costs, sizes: Mapping[str, int], budget: float) -> dict[str, int]:
    """`choice` with wider layers for what the budget still pays, the most gain a bit first."""
    choice, room = dict(choice), budget * sum(sizes.values()) - _bits(choice, sizes)
    while True:
        offers = [
            ((costs[path][held] - cost) / ((width - held) * sizes[path]), path, width)
            for path, held in choice.items()
            for width, cost in costs[path].items()
            if width > held and (width - held) * sizes[path] <= room and cost < costs[path][held]
        ]
        if not offers:
            return choice
        _, path, width = max(offers)
        room -= (width - choice[path]) * sizes[path]
        choice[path] = width


def _bits(choice: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    return sum(choice[path] * sizes[path] for path in choice)


def _mean(choice: Mapping[str, int], sizes: Mapping[str, int]) -> float:
    return _bits(choice, sizes) / max(1, sum(sizes.values()))
