"""PyTorch, operation by operation: the reference that the other runtimes are compared with.

Quantised networks are simulated: int8 codes are read back as float32 once, activations are rounded, and the products
are float32. Accuracy is that of the stored network; latency is not an int8 latency, and `kernels` says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.runtimes.base import Runtime, Session

if TYPE_CHECKING:
    from torch.fx import GraphModule


class Eager(Runtime):
    name = "eager"

    def unavailable(self, device: str) -> str | None:
        from bench.runtimes.torch_session import no_such_device

        return no_such_device(device)

    def prepare(self, model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        return None

    def load(self, model: GraphModule | None, deployed: Path | None, *, threads: int, device: str) -> Session:
        import torch

        from bench.runtimes.lowering import baked
        from bench.runtimes.precision import in_stored_precision
        from bench.runtimes.torch_session import EagerSession

        assert model is not None
        torch.set_num_threads(threads)
        return EagerSession(model, in_stored_precision(baked(model), model, device).eval(), device)
