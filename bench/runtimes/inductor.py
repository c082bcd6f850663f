"""torch.compile with freezing: weights become constants, so int8 layers turn into oneDNN's int8 kernels.

Compiling takes some 20 s a network and batch size, so this runtime runs only where it is asked for.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from bench.runtimes.base import Session
from bench.runtimes.torch_runtime import TorchRuntime

if TYPE_CHECKING:
    from torch.fx import GraphModule


class Inductor(TorchRuntime):
    name = "inductor"

    def unavailable(self, device: str) -> str | None:
        from bench.runtimes.torch_session import no_such_device

        if device == "cpu" and not any(shutil.which(compiler) for compiler in ("g++", "clang++")):
            return "it needs a C++ compiler (g++ or clang++) on the PATH"
        return no_such_device(device)

    def session(self, model: GraphModule, device: str) -> Session:
        import torch._inductor.config

        from bench.runtimes.lowering import spelled_out
        from bench.runtimes.precision import in_stored_precision
        from bench.runtimes.torch_session import InductorSession

        torch._inductor.config.freezing = True  # as an option of torch.compile, tracing would not see it
        return InductorSession(model, in_stored_precision(spelled_out(model), model, device).eval(), device)
