"""int8 products on a GPU: quantised linear layers and convolutions as integer matrix products (`torch._int_mm`, which
is cuBLASLt's int8 GEMM there), convolutions after unrolling their windows (im2col).

Quantisers and what lies between the products stay float32. Runs on a processor too, where it is slow and serves to
check the arithmetic. Grouped and dilated convolutions stay float32, as does a network that is not quantised (the dense
one, whose latency is taken beside the row's), and `kernels` says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.runtimes.base import Runtime, Session

if TYPE_CHECKING:
    from torch.fx import GraphModule


class Int8Gemm(Runtime):
    name = "int8_gemm"

    def unavailable(self, device: str) -> str | None:
        from bench.runtimes.torch_session import no_such_device

        return no_such_device(device)

    def prepare(self, model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        return None

    def load(self, model: GraphModule | None, deployed: Path | None, *, threads: int, device: str) -> Session:
        import torch

        from bench.runtimes.integer_products import with_integer_products
        from bench.runtimes.torch_session import EagerSession

        assert model is not None
        torch.set_num_threads(threads)
        lowered, _ = with_integer_products(model)
        return EagerSession(model, lowered.eval(), device)
