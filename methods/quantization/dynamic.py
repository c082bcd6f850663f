"""Dynamic quantisation: int8 weights, and activations whose range is taken from the values at hand.

Idea: as `ptq`, but a layer's input is rounded to the grid that spans just this batch's values, and its output is
float32 (DynamicQuantizeLinear with MatMulInteger and ConvInteger of ONNX; the grid is equation 1 of arXiv 1712.05877).
Nothing is calibrated.
Stored form: int8 codes, a float32 scale per output channel, float32 biases.
Cost: none; at run time a look at each input for its range, and float32 between layers.
Known failures: an image's result depends on the batch that it is in; convolutions gain little or lose time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Strength, Task
from methods.layers import LayerScope
from methods.quantization.placement import place_dynamic_quantizers
from methods.quantization.preparation import bits_of_layers, check_bits_fields, prepared, put_on_grids, why_not


@dataclass(frozen=True)
class Dynamic(CompressionMethod):
    """Int8 with ranges of activations found at run time.

    bits, first_last_bits: as in `PTQ`.
    layers: all, conv or linear: whose weights and inputs are quantised.
    """

    bits: int = 8
    first_last_bits: int = 8
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION
    strength: ClassVar[Strength | None] = Strength("bits", 8, 2, whole=True)
    trains: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = ()  # the file of `ptq` without its ranges

    def __post_init__(self) -> None:
        check_bits_fields(self.bits, self.first_last_bits)

    def unsupported(self, model: GraphModule) -> str | None:
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = prepared(model, self.layers, self.bits, task)
        bits = bits_of_layers(model, self.layers, self.bits, self.first_last_bits)
        place_dynamic_quantizers(model, self.layers)
        return put_on_grids(model, bits, "fitted").eval()
