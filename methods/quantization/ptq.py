"""Post-training quantisation: weights of few bits and int8 activations without training.

Idea: fold batch norms, round weights to a symmetric grid per output channel and activations to an affine uint8 grid
whose range a few hundred training images show (Jacob et al. 2018, arXiv 1712.05877; Krishnamoorthi 2018, arXiv
1806.08342, sections 3.1 and 3.2); then set biases right (Nagel et al. 2019, arXiv 1906.04721, section 4.2).
Stored form: codes of `bits` bits, a float32 scale per output channel, float32 biases, scale and zero point per
activation.
Cost: some passes over the calibration images; with `budget`, one for each layer and width over a few of them.
Known failures: layers whose channels differ much in range (depthwise), few bits; then train with `qat`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Strength, Task
from methods.layers import LayerScope
from methods.quantization.bias_correction import correct_biases
from methods.quantization.biases import round_biases
from methods.quantization.calibration import Observer, calibrate
from methods.quantization.equalization import equalize
from methods.quantization.placement import place_quantizers
from methods.quantization.preparation import (
    bits_of_layers,
    check_bits_fields,
    check_calibration,
    prepared,
    put_on_grids,
    why_not,
)
from methods.quantization.sensitivity import WIDTHS, mixed_bits

_CORRECTING = 128  # images at most that biases are corrected on
_COMPARING = 64  # images at most that the sensitivity of layers is measured on


@dataclass(frozen=True)
class PTQ(CompressionMethod):
    """Static int8 after training.

    bits: of a weight, 2 to 8.
    activations: 8 rounds them to uint8; none leaves them float32.
    first_last_bits: at least so many for the first and last layer's weights; 0: `bits` as for all.
    budget: mean bits of a weight, given to layers by measured sensitivity, none more than `bits`; 0: `bits` in all.
    calibration: training images that show the ranges of activations.
    observer: `histogram` picks the range of least squared rounding error, `percentile` leaves out the rarest 0.01 % of
    values, `minmax` spans all that was seen.
    bias_correction: sets biases so that rounding leaves each layer's mean outputs as they were.
    equalize: brings the channels of neighbouring layers to like ranges first; for depthwise networks.
    layers: all, conv or linear: whose weights and activations are quantised.
    """

    bits: int = 8
    activations: Literal["8", "none"] = "8"
    first_last_bits: int = 8
    budget: float = 0.0
    calibration: int = 512
    observer: Observer = "histogram"
    bias_correction: bool = True
    equalize: bool = False
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION
    strength: ClassVar[Strength | None] = Strength("bits", 8, 2, whole=True)
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_bits_fields(self.bits, self.first_last_bits)
        check_calibration(self.calibration)
        if self.budget != 0 and not 2 <= self.budget <= 8:
            raise ValueError(f"budget must be in 2..8 or 0, got {self.budget}: pass the mean bits of a weight")
        if self.budget > max(self.bits, self.first_last_bits):
            raise ValueError(
                f"budget must be at most the bits that a layer may have, got {self.budget} with bits={self.bits}: "
                "no layer can use it"
            )

    def unsupported(self, model: GraphModule) -> str | None:
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        device = next(model.parameters()).device
        reference = prepared(model, self.layers, self.bits, task)
        if self.equalize:
            equalize(reference)
        bits = self._bits(reference, task)
        model = copy.deepcopy(reference)
        if self.activations == "8":
            place_quantizers(model, self.layers)
        put_on_grids(model, bits, "fitted").to(device)
        if self.activations == "8":
            calibrate(model, task.calibration(self.calibration), self.observer)
        if self.bias_correction:
            correct_biases(model, reference, self._images(task, _CORRECTING))
        return round_biases(model.eval())

    def _bits(self, model: GraphModule, task: Task) -> dict[str, int]:
        """Bits of each layer's weights, by path."""
        if not self.budget:
            return bits_of_layers(model, self.layers, self.bits, self.first_last_bits)
        fewest = bits_of_layers(model, self.layers, min(WIDTHS), self.first_last_bits)
        images = torch.cat(list(self._images(task, _COMPARING)))
        return mixed_bits(model, fewest, self.bits, self.budget, images)

    def _images(self, task: Task, count: int) -> Iterator[Tensor]:
        return task.calibration(min(count, self.calibration))
