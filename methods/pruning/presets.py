"""Layer-wise rates of the literature: how fast each layer of a network is pruned, step by step.

lookahead: Park et al. 2020 (arXiv 2002.04809), by kind of network. MLPs .5 a layer and .25 the last; LeNets .2 the two
convolutions, .3 what follows, .15 the last; Conv-6 .15 the convolutions, .2 what follows, .1 the last; deeper networks
.15, the last .1, and 0 the first convolution of those with shortcuts.
"""

from __future__ import annotations

from torch import nn
from torch.fx import GraphModule

from methods.pruning.scoring import Stored, along

_LENETS = ((2, 3), (3, 2), (2, 2))  # convolutions and linear layers; the third convolution of the first is a linear one
_CONV6 = (6, 3)


def lookahead_rates(model: GraphModule, stored: Stored) -> list[float]:
    """The rate of each tensor of `stored`, which are all of the network's."""
    order = along(model, stored)
    linear = [isinstance(stored[index][1], nn.Linear) for index in order]
    kind = (len(linear) - sum(linear), sum(linear))
    if kind[0] == 0:
        ordered = [0.5] * kind[1]
        ordered[-1] = 0.25
    elif kind in _LENETS:
        ordered = [0.2, 0.2, *[0.3] * (len(linear) - 2)]
        ordered[-1] = 0.15
    else:
        ordered = [0.2 if is_linear and kind == _CONV6 else 0.15 for is_linear in linear]
        ordered[-1] = 0.1
        if _has_shortcuts(model) and not linear[0]:
            ordered[0] = 0.0
    return [rate for _, rate in sorted(zip(order, ordered, strict=True))]


def _has_shortcuts(model: GraphModule) -> bool:
    return any(
        getattr(node.target, "__name__", node.target) in ("add", "iadd", "add_") and len(node.all_input_nodes) > 1
        for node in model.graph.nodes
    )
