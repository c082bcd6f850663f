"""What runtimes have in common that run a network with torch, from the artifact itself. Imports no torch on loading."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from bench.runtimes.base import Runtime, Session

if TYPE_CHECKING:
    from torch.fx import GraphModule


class TorchRuntime(Runtime):
    """A runtime that deploys nothing: a session is made of the network as it was read."""

    def unavailable(self, device: str) -> str | None:
        from bench.runtimes.torch_session import no_such_device

        return no_such_device(device)

    def prepare(self, model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        return None

    def load(self, model: GraphModule | None, deployed: Path | None, *, threads: int, device: str) -> Session:
        import torch

        assert model is not None
        torch.set_num_threads(threads)
        return self.session(model, device)

    @abstractmethod
    def session(self, model: GraphModule, device: str) -> Session:
        """A session on `device`; `model` is left untouched.

        Raises:
            RuntimeFailure: the runtime refuses the network.
        """
