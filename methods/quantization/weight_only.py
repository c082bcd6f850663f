"""Weight-only quantisation: weights of few bits, a grid for each small group of them, activations left float32.

Idea: what limits large linear layers at batch 1 is reading their weights; few bits are less to read and to store. With
8, 4 or 2 bits a range for each few dozen weights keeps the error down (methods/layers/groups.py, with sources).
Stored form: uint8 codes packed to `bits` bits, and for each group a bfloat16 step and a uint8 zero point: 24 / group
bits a weight on top.
Cost: seconds; no data is looked at.
Known failures: products stay float32, so nothing is gained where arithmetic is the limit; 2 bits without training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.fx import GraphModule

from methods.base import CompressionMethod, Effect, Strength, Task
from methods.folding import fold_batch_norms
from methods.layers import GroupQuantizer, LayerScope, constrain, weights
from methods.quantization.preparation import bits_of_layers, check_bits_fields, copied, why_not


@dataclass(frozen=True)
class WeightOnly(CompressionMethod):
    """Grouped weights of few bits, float32 activations.

    bits: of a weight, 2 to 8.
    group: consecutive inputs of one output that share a step and a zero point.
    first_last_bits: at least so many for the first and last layer; 0: `bits` as for all.
    layers: all, conv or linear: whose weights are quantised.
    """

    bits: int = 4
    group: int = 64
    first_last_bits: int = 8
    layers: LayerScope = "all"
    effect: ClassVar[Effect] = Effect.LOWERS_PRECISION
    strength: ClassVar[Strength | None] = Strength("bits", 8, 2, whole=True)
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_bits_fields(self.bits, self.first_last_bits)
        if self.group < 1:
            raise ValueError(f"group must be at least 1, got {self.group}: pass the number of weights of a group")

    def unsupported(self, model: GraphModule) -> str | None:
        return why_not(model, self.layers)

    def compress(self, model: GraphModule, task: Task) -> GraphModule:
        self.check(model)
        model = fold_batch_norms(copied(model))
        named = dict(model.named_modules())
        for path, bits in bits_of_layers(model, self.layers, self.bits, self.first_last_bits).items():
            for _, layer, name in list(weights(named[path])):
                constrain(layer, name, GroupQuantizer(bits, self.group))
        return model.eval()
