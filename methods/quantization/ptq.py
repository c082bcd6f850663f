"""Post-training quantisation: int8 weights and activations without training.

Idea: fold batch norms, round weights to a symmetric grid per output channel and activations to an affine uint8 grid
whose range a few hundred training images show (Jacob et al. 2018, arXiv 1712.05877; Krishnamoorthi 2018, arXiv
1806.08342, sections 3.1 and 3.2).
Stored form: int8 codes, a float32 scale per output channel, float32 biases, scale and zero point per activation.
Cost: one pass over the calibration images.
Known failures: layers whose channels differ much in range (depthwise), few bits; then train with `qat`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Refused, Task
from methods.folding import fold_batch_norms
from methods.layers import LayerScope, constrain, weights
from methods.layers.quantization import WeightQuantizer, is_quantized
from methods.quantization.biases import round_biases
from methods.quantization.calibration import Observer, calibrate
from methods.quantization.expansion import expand
from methods.quantization.placement import place_quantizers

_FEWEST_BITS_OF_BASES = 7  # coarser codes of bases save no bytes; finer ones may saturate where those of weights do not


@dataclass(frozen=True)
class PTQ(CompressionMethod):
    """Static int8 after training.

    calibration: training images that show the ranges of activations.
    observer: `mse` picks the range of least squared rounding error, `minmax` spans all that was seen.
    weight_bits: bits of a weight, 2 to 8.
    layers: all, conv or linear: whose weights and activations are quantised.
    """

    calibration: int = 512
    observer: Observer = "mse"
    weight_bits: int = 8
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION

    def __post_init__(self) -> None:
        check_quantization_fields(self.calibration, self.weight_bits)

    def unsupported(self, model: GraphModule) -> str | None:
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        if reason := self.unsupported(model):
            raise Refused(f"ptq cannot run on this network: {reason}")
        model = with_quantizers(model, self.weight_bits, self.layers, task)
        return round_biases(calibrate(model, task.calibration(self.calibration), self.observer))


def check_quantization_fields(calibration: int, weight_bits: int) -> None:
    """Raises ValueError for values that PTQ and QAT refuse."""
    if calibration < 1:
        raise ValueError(f"calibration must be at least 1, got {calibration}: pass the number of images to look at")
    if not 2 <= weight_bits <= 8:
        raise ValueError(f"weight_bits must be in 2..8, got {weight_bits}: codes are stored as int8")


def why_not(model: GraphModule, layers: LayerScope) -> str | None:
    """The reason why `model` cannot be quantised, or None."""
    if is_quantized(model):
        return "it is quantised already"
    if next(weights(model, layers), None) is None:
        return f"it has no {'convolution or linear' if layers == 'all' else layers} layer to quantise"
    return None


def with_quantizers(model: GraphModule, weight_bits: int, layers: LayerScope, task: Task) -> GraphModule:
    """A copy of `model`, spectral layers expanded, batch norms folded, weights on their grids and calibrating
    quantisers in the graph."""
    device = next(model.parameters()).device
    model = copy.deepcopy(model).eval()
    model = expand(model, task.calibration(1), layers, max(weight_bits, _FEWEST_BITS_OF_BASES))
    model = place_quantizers(fold_batch_norms(model), layers)
    for _, layer, name in list(weights(model, layers)):
        constrain(layer, name, WeightQuantizer(weight_bits))
    return model.to(device)
