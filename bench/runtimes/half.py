"""fp16 and bf16: eager with weights and activations in 16 bits. Rows of their own: no runtime lowers precision unasked.

Where they pay is a GPU's tensor cores, or a processor with instructions for bfloat16; elsewhere they are emulated, and
slow. Quantised activations are rounded to their grid first and then to 16 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench.runtimes.base import Session
from bench.runtimes.torch_runtime import TorchRuntime

if TYPE_CHECKING:
    from torch.fx import GraphModule


class SixteenBits(TorchRuntime):
    """Eager in a type of 16 bits."""

    dtype: ClassVar[str]  # what torch calls it

    def session(self, model: GraphModule, device: str) -> Session:
        import torch

        from bench.runtimes.lowering import baked
        from bench.runtimes.precision import in_half
        from bench.runtimes.torch_session import EagerSession

        return EagerSession(model, in_half(baked(model), getattr(torch, self.dtype)).eval(), device)


class Float16(SixteenBits):
    name, dtype = "fp16", "float16"


class BFloat16(SixteenBits):
    name, dtype = "bf16", "bfloat16"
