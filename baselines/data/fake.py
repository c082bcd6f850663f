"""Made-up images that can be learnt: each class is a smooth pattern, shifted, under noise. For tests and dry runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from baselines.data.arrays import ArrayData, Pixels
from baselines.data.base import Indices, SplitName
from baselines.data.known import in_memory
from baselines.errors import UsageError

OPTIONS: dict[str, type] = {"classes": int, "size": int, "channels": int, "count": int, "noise": float}


@dataclass(frozen=True)
class Fake:
    """How many images of what form; count: of the training and validation parts, a quarter more is the test part."""

    classes: int = 10
    size: int = 16
    channels: int = 1
    count: int = 1000
    noise: float = 0.3  # deviation, where patterns have 1

    def __post_init__(self) -> None:
        if min(self.classes - 1, self.size, self.channels, self.count // (2 * self.classes)) < 1 or self.noise < 0:
            raise UsageError(f"{self} cannot be made: give at least 2 classes, 1 pixel, 1 channel, 2 images a class")


def fake(form: Fake, seed: int) -> ArrayData:
    """The data set that `seed` draws."""
    rng = np.random.default_rng([seed, 77])
    coarse = torch.from_numpy(rng.standard_normal((form.classes, form.channels, 4, 4)))
    patterns = F.interpolate(coarse, (form.size, form.size), mode="bicubic", align_corners=False)
    smooth = patterns.permute(0, 2, 3, 1).numpy()  # [classes, h, w, c]
    parts: dict[SplitName, tuple[Pixels, Indices]] = {
        "train": _drawn(rng, smooth, form.count, form.noise),
        "test": _drawn(rng, smooth, max(form.classes, form.count // 4), form.noise),
    }
    return in_memory("fake", tuple(f"class {index}" for index in range(form.classes)), parts, flip=False)


def _drawn(rng: np.random.Generator, patterns: np.ndarray, count: int, noise: float) -> tuple[Pixels, Indices]:
    """Images [count, h, w, c] and labels [count], classes in turn."""
    labels = np.arange(count, dtype=np.int64) % len(patterns)
    moves = rng.integers(-1, 2, (count, 2))
    images = np.stack(
        [np.roll(patterns[label], tuple(move), (0, 1)) for label, move in zip(labels, moves, strict=True)]
    )
    images = images + noise * rng.standard_normal(images.shape)
    return np.clip(128 + 50 * images, 0, 255).astype(np.uint8), labels
