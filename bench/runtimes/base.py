"""What a runtime is: something that turns an artifact's network into numbers, and can say which kernels did it.

This module and the table import no torch, so that a deployed graph can be run, and its memory measured, without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.runtimes.kernels import Kernels

if TYPE_CHECKING:
    from torch.fx import GraphModule


class RuntimeFailure(RuntimeError):
    """A runtime cannot run this network. The message is one line, for the table."""


class Session(ABC):
    """A network ready to run."""

    @abstractmethod
    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 [n, c, h, w] -> float32 logits [n, classes]."""

    @abstractmethod
    def kernels(self) -> Kernels:
        """What multiplied, as the runtime itself reports it. Asked after a run: some choose their kernels in it."""


class Runtime(ABC):
    """A way to run a network. Stateless: what it deploys is a file, what runs is a `Session`."""

    name: ClassVar[str]

    @abstractmethod
    def unavailable(self, device: str) -> str | None:
        """The reason why this runtime cannot be used here on `device` ("cpu", "cuda", "cuda:1"), or None."""

    def preload(self) -> None:  # noqa: B027  # most runtimes have nothing to import
        """Imports what `prepare` and `load` will need, for a process from which others are forked: starts no thread,
        touches no device. Nothing by default."""

    @abstractmethod
    def prepare(self, model: GraphModule, input_shape: tuple[int, ...], folder: Path) -> Path | None:
        """Writes into `folder` what the runtime deploys and returns its path; None if it runs the artifact itself.

        input_shape: (c, h, w).

        Raises:
            RuntimeFailure: the network cannot be deployed.
        """

    @abstractmethod
    def load(self, model: GraphModule | None, deployed: Path | None, *, threads: int, device: str) -> Session:
        """A session over what `prepare` returned: the file `deployed`, or `model` if that was None. `model` is left
        untouched.

        Raises:
            RuntimeFailure: the runtime refuses the network.
        """


def one_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an exception that says something, at most `limit` characters, with the exception's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
