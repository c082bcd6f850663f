"""Quantisation-aware training: the network is trained on the grid that it will be stored on.

Idea: start from the post-training ranges, then fine-tune with weights and activations rounded in every forward pass;
gradients pass the rounding straight through (Jacob et al. 2018, arXiv 1712.05877, section 3). Ranges of activations
follow a moving average while training and are frozen at the end; the weights' grid follows the weights.
Stored form and file size: those of `ptq`.
Cost: the recipe's fine-tuning epochs, each some 1.5 times as long as in float32.
Known failures: batch norms are folded before training, so a high learning rate diverges: hence `lr_scale`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Refused, Task
from methods.layers import LayerScope
from methods.quantization.biases import round_biases
from methods.quantization.calibration import Observer, calibrate
from methods.quantization.placement import activation_quantizers
from methods.quantization.ptq import check_quantization_fields, why_not, with_quantizers


@dataclass(frozen=True)
class QAT(CompressionMethod):
    """Static int8 with fake-quantised training.

    calibration, observer, weight_bits, layers: as in `PTQ`, for the ranges that training starts from.
    lr_scale: factor on the recipe's fine-tuning learning rate.
    """

    calibration: int = 512
    observer: Observer = "mse"
    weight_bits: int = 8
    lr_scale: float = 0.1
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION

    def __post_init__(self) -> None:
        check_quantization_fields(self.calibration, self.weight_bits)
        if not 0 < self.lr_scale < math.inf:
            raise ValueError(f"lr_scale must be above 0 and finite, got {self.lr_scale}: pass a factor such as 0.1")

    def unsupported(self, model: GraphModule) -> str | None:
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        if reason := self.unsupported(model):
            raise Refused(f"qat cannot run on this network: {reason}")
        model = with_quantizers(model, self.weight_bits, self.layers, task)
        model = calibrate(model, task.calibration(self.calibration), self.observer)
        for quantizer in activation_quantizers(model):
            quantizer.average()
        model = task.finetune(model, lr_scale=self.lr_scale)
        for quantizer in activation_quantizers(model):
            quantizer.freeze()
        return round_biases(model.eval())
