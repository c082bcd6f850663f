"""Biases on the grid that integer kernels add them on: s_x * s_w[c] (arXiv 1712.05877, section 2.4).

Those kernels add biases as int32 codes, so eager must not compute with finer ones: a difference far below a step of the
output moves some values across it, and each later rounding makes more of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule

from methods.layers import BasisTransform, constraints, original
from methods.layers.activations import ActivationQuantizer
from methods.layers.quantization import StepQuantizer, WeightQuantizer
from methods.quantization.placement import source

_LARGEST_CODE = 2**30  # beyond it a channel's weights all but vanish, and runtimes take a coarser step for them


@torch.no_grad()
def round_biases(model: GraphModule) -> GraphModule:
    """Rounds the biases of layers whose weights and inputs are on grids, in place.

    A layer that reads values on several grids keeps its bias.
    """
    steps: dict[nn.Module, set[float]] = {}
    for node in model.graph.nodes:
        if node.op == "call_module" and (step := _input_step(model, node)) is not None:
            steps.setdefault(model.get_submodule(node.target), set()).add(step)
    for layer, found in steps.items():
        weight_steps = _weight_steps(layer)
        if weight_steps is not None and len(found) == 1 and isinstance(layer.bias, nn.Parameter):
            unit = found.pop() * weight_steps.double()  # [out]
            codes = torch.round(layer.bias.double() / unit)
            layer.bias.copy_(torch.where(codes.abs() < _LARGEST_CODE, codes * unit, layer.bias.double()))
    return model


def _input_step(model: GraphModule, node: fx.Node) -> float | None:
    """The step of the grid of the values that `node` reads, or None."""
    before = source(model, node.all_input_nodes[0])
    quantizer = model.get_submodule(str(before.target)) if before.op == "call_module" else None
    return quantizer.scale.item() if isinstance(quantizer, ActivationQuantizer) else None


def _weight_steps(layer: nn.Module) -> Tensor | None:
    """The step of each output channel's weights [out], or None where they are on no grid."""
    if isinstance(layer, BasisTransform):
        return layer.step()
    match constraints(layer, "weight"):
        case [*earlier, (WeightQuantizer() | StepQuantizer()) as grid]:
            weight: Tensor = original(layer, "weight")
            for constraint in earlier:
                weight = constraint(weight)
            return grid.scale(weight)
    return None
