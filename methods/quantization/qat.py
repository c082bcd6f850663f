"""Quantisation-aware training: the network is trained on the grid that it will be stored on.

Idea: start from the post-training ranges, then fine-tune with weights and activations rounded in every forward pass;
gradients pass the rounding straight through (Jacob et al. 2018, arXiv 1712.05877, section 3). The steps of the grids
either follow what they round, as a moving average of each activation's range and from each channel's largest weight
(section 3.1 there), or are trained with the weights (Esser et al. 2020, arXiv 1902.08153).
Batch norms stay while training and see the batches; late in it their statistics and the averaged ranges are frozen
(Krishnamoorthi 2018, arXiv 1806.08342, section 3.2.2), and at the end they are folded. A channel's grid scales with the
channel, so a weight has the same code before and after folding: no correction of folded weights is needed.
Stored form and file size: those of `ptq`.
Cost: the recipe's fine-tuning epochs, each some 1.5 times as long as in float32.
Known failures: a high learning rate at few bits; at 8 bits `ptq` has often lost nothing that could be won back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Strength, Task
from methods.folding import fold_batch_norms
from methods.layers import LayerScope
from methods.layers.activations import ActivationQuantizer
from methods.layers.quantization import StepQuantizer
from methods.quantization.biases import round_biases
from methods.quantization.calibration import Observer, calibrate
from methods.quantization.placement import activation_quantizers, place_quantizers
from methods.quantization.preparation import (
    bits_of_layers,
    check_bits_fields,
    check_calibration,
    freeze_grids,
    prepared,
    put_on_grids,
    why_not,
)

_FARTHEST = 4.0
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class QAT(CompressionMethod):
    """Static int8 with fake-quantised training.

    bits, first_last_bits, calibration, observer, layers: as in `PTQ`; the ranges are those that training starts from.
    ranges: `learned` trains the steps of weights and activations; `averaged` has them follow.
    freeze: share of the training after which batch norms and averaged ranges no longer move.
    lr_scale: factor on the recipe's fine-tuning learning rate.
    """

    bits: int = 8
    first_last_bits: int = 8
    ranges: Literal["learned", "averaged"] = "learned"
    freeze: float = 0.7
    lr_scale: float = 0.5
    calibration: int = 512
    observer: Observer = "histogram"
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION
    strength: ClassVar[Strength | None] = Strength("bits", 8, 2, whole=True)
    variants: ClassVar[tuple[str, ...]] = ("", "first_last_bits=0")

    def __post_init__(self) -> None:
        check_bits_fields(self.bits, self.first_last_bits)
        check_calibration(self.calibration)
        if not 0 <= self.freeze <= 1:
            raise ValueError(f"freeze must be a share in [0, 1], got {self.freeze}: 0.7 freezes for the last 30 %")
        if not 0 < self.lr_scale < math.inf:
            raise ValueError(f"lr_scale must be above 0 and finite, got {self.lr_scale}: pass a factor such as 0.5")

    def unsupported(self, model: GraphModule) -> str | None:
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        device = next(model.parameters()).device
        model = prepared(model, self.layers, self.bits, task, fold=False)
        bits = bits_of_layers(model, self.layers, self.bits, self.first_last_bits)
        place_quantizers(model, self.layers)
        put_on_grids(model, bits, "learned" if self.ranges == "learned" else "following").to(device)
        calibrate(model, task.calibration(self.calibration), self.observer)
        for quantizer in activation_quantizers(model):
            if self.ranges == "learned":
                quantizer.learn()
            else:
                quantizer.average()
        at_step = schedule(model, self.freeze)
        model = task.finetune(model, lr_scale=self.lr_scale, at_step=at_step)
        at_step(1.0)  # after the last step too
        for quantizer in activation_quantizers(model):
            quantizer.freeze()
        return round_biases(fold_batch_norms(freeze_grids(model.eval())))


def schedule(model: nn.Module, freeze: float) -> Callable[[float], None]:
    """What happens at each step of training `model` on its grids.

    Once a share `freeze` of the steps is done, batch norms and quantisers are put in eval mode: statistics and averaged
    ranges then stay, and batches are normalised as in the finished network. Learned steps are held within a factor of
    `_FARTHEST` of where they start: one bad gradient must not take a layer's values to a single code for good.
    """
    modules = [*activation_quantizers(model), *(one for one in model.modules() if isinstance(one, _NORMS))]
    learned = [
        (one.step, one.step.detach().clone())
        for one in model.modules()
        if isinstance(one, ActivationQuantizer | StepQuantizer) and isinstance(getattr(one, "step", None), nn.Parameter)
    ]

    def at_step(done: float) -> None:
        with torch.no_grad():
            for step, start in learned:
                step.copy_(step.clamp(start / _FARTHEST, start * _FARTHEST))
        if done >= freeze:
            for module in modules:
                module.eval()

    return at_step
