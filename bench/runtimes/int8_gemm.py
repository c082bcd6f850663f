"""int8 products on a GPU: quantised linear layers and convolutions as integer matrix products (`torch._int_mm`, which
is cuBLASLt's int8 GEMM there), convolutions after unrolling their windows (im2col).

Quantisers and what lies between the products stay float32. Runs on a processor too, where it is slow and serves to
check the arithmetic. Grouped and dilated convolutions stay float32, as does a network that is not quantised (the dense
one, whose latency is taken beside the row's), and `kernels` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.runtimes.base import Session
from bench.runtimes.torch_runtime import TorchRuntime

if TYPE_CHECKING:
    from torch.fx import GraphModule


class Int8Gemm(TorchRuntime):
    name = "int8_gemm"

    def session(self, model: GraphModule, device: str) -> Session:
        from bench.runtimes.integer_products import with_integer_products
        from bench.runtimes.torch_session import EagerSession

        lowered, _ = with_integer_products(model)
        return EagerSession(model, lowered.eval(), device)
