"""PyTorch, operation by operation: the reference that the other runtimes are compared with.

Quantised networks are simulated: int8 codes are read back as float32 once, activations are rounded, and the products
are float32. Accuracy is that of the stored network; latency is not an int8 latency, and `kernels` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.runtimes.base import Session
from bench.runtimes.torch_runtime import TorchRuntime

if TYPE_CHECKING:
    from torch.fx import GraphModule


class Eager(TorchRuntime):
    name = "eager"

    def session(self, model: GraphModule, device: str) -> Session:
        from bench.runtimes.lowering import baked
        from bench.runtimes.precision import in_stored_precision
        from bench.runtimes.torch_session import EagerSession

        return EagerSession(model, in_stored_precision(baked(model), model, device).eval(), device)
