"""How far a runtime's logits are from those that it is held against, over the first test images."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

IMAGES = 2000  # of the test split: enough to see a drift, with 1,000 classes 8 MB


class FirstLogits:
    """The logits of the first IMAGES images."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float32]] = []

    def add(self, logits: NDArray[np.float32]) -> None:
        """logits: the next ones, [n, classes]."""
        if (room := IMAGES - sum(map(len, self._parts))) > 0:
            self._parts.append(logits[:room].copy())

    def all(self) -> NDArray[np.float32]:
        """[at most IMAGES, classes]"""
        return np.concatenate(self._parts)


def logits_as_read(
    model: nn.Module, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]], device: str
) -> NDArray[np.float32]:
    """Logits [at most IMAGES, classes] of the network as it was read, called without any runtime of ours.

    batches: images [n, c, h, w] and labels [n].
    """
    model = model if device == "cpu" else copy.deepcopy(model).to(device)
    found, seen = FirstLogits(), 0
    with torch.no_grad():
        for images, _ in batches:
            found.add(model(torch.from_numpy(images).to(device)).float().cpu().numpy())
            seen += len(images)
            if seen >= IMAGES:
                break
    return found.all()
