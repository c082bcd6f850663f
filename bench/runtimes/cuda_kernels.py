"""The project's own kernels on a GPU: quantised layers as int8 products with scale and bias fused, layers with few
weights left as sparse products, linear layers stored as DCT or DST coefficients as one operation.

What they do not serve (convolutions in groups, layers with less than 80 % zeros that are not quantised) runs as in
eager, and `kernels` says so. Runs on a processor too, where the kernels' references answer, slowly and exactly, which
`kernels` says as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.runtimes.base import RuntimeFailure, Session, one_line
from bench.runtimes.torch_runtime import TorchRuntime

if TYPE_CHECKING:
    from torch.fx import GraphModule


class CudaKernels(TorchRuntime):
    name = "cuda_kernels"

    def unavailable(self, device: str) -> str | None:
        from bench.runtimes.torch_session import no_such_device
        from methods.layers import kernel_products

        return no_such_device(device) or kernel_products.unavailable(device)

    def prepare(self, model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        from methods.layers import kernel_products

        try:
            kernel_products.prepare()
        except RuntimeError as error:
            raise RuntimeFailure(f"the kernels cannot be compiled: {one_line(error)}") from error
        return None

    def session(self, model: GraphModule, device: str) -> Session:
        from bench.runtimes.integer_products import IN_ONE_KERNEL, with_integer_products
        from bench.runtimes.kernel_session import KernelSession
        from methods.graph import modules_called, replace_module
        from methods.layers import kernel_products

        lowered, _ = with_integer_products(model, IN_ONE_KERNEL)
        skipping = set()  # layers whose zeros are not multiplied
        for path, layer in modules_called(lowered).items():
            product = kernel_products.in_kernels(layer)
            if product is not None:
                replace_module(lowered, path, product)
            if isinstance(product, kernel_products.SparseProduct):
                skipping.add(path)
        return KernelSession(model, lowered.eval(), device, frozenset(skipping))
