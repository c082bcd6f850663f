"""Large images: decoded and augmented one by one by worker processes, normalised on the device."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from baselines.data.base import WHOLE, ImageData, Indices, Part, SplitName, bounds
from baselines.errors import UsageError
from baselines.torchvision_import import import_torchvision

_SMALLEST_CROP = 0.25  # of the area; ImageNet's usual 0.08 suits longer training than a benchmark has
_BEFORE_CENTRE_CROP = 256 / 224


@dataclass(frozen=True, eq=False)
class Files:
    """Paths of images and their labels [n]."""

    paths: Sequence[Path]
    labels: Indices


@dataclass(frozen=True, eq=False)
class FileData(ImageData):
    """Images that stay on disk. workers: processes that decode them; where several train together, those of a core
    each that they share (`worker_count`), and none where this is 0."""

    splits: Mapping[SplitName, Files]
    workers: int = 0
    flip: bool = True

    def digest(self) -> str:
        """Of each image its place, size and time of change: reading all of a large set would take minutes."""
        found = hashlib.sha256()
        for name, files in sorted(self.splits.items()):
            for path, label in zip(files.paths, files.labels.tolist(), strict=True):
                status = path.stat()
                place = "/".join(path.parts[-3:])
                found.update(f"{name} {place} {status.st_size} {status.st_mtime_ns} {label}\n".encode())
        return found.hexdigest()

    def count(self, split: SplitName) -> int:
        return len(self.splits[split].labels)

    def labels(self, split: SplitName) -> Indices:
        return self.splits[split].labels

    def take(self, chosen: Indices) -> FileData:
        train = self.splits["train"]
        part = Files([train.paths[index] for index in chosen], train.labels[chosen])
        return replace(self, splits={**self.splits, "train": part})

    def without_test(self) -> FileData:
        return replace(self, splits={name: part for name, part in self.splits.items() if name != "test"})

    def batches(
        self, split: SplitName, batch_size: int, *, device: str, part: Part = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        count = self.count(split)
        batches = [[(index, 0) for index in range(begin, min(begin + batch_size, count))]
                   for begin in range(part.index * batch_size, count, part.count * batch_size)]  # fmt: skip
        return self._loaded(self.decoded(split, augment=False), batches, device, part)

    def train_batches(
        self, batch_size: int, *, device: str, seed: int, epoch: int, augment: bool = True, part: Part = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        count = self.count("train")
        rng = np.random.default_rng([seed, epoch])
        order, seeds = rng.permutation(count).tolist(), rng.integers(0, 2**31, count).tolist()
        batches = [list(zip(order[begin:end], seeds[begin:end], strict=True))
                   for begin, end in (part.of(*edges) for edges in bounds(count, batch_size))]  # fmt: skip
        return self._loaded(self.decoded("train", augment), batches, device, part)

    def decoded(self, split: SplitName, augment: bool) -> Dataset[tuple[Tensor, int]]:
        """What a decoding process makes of (index, seed): an image [c, h, w] in 0..255, and its label."""
        return _Images(self.splits[split], self._random() if augment else self._steady(), self.input_shape[0])

    def _loaded(
        self, images: Dataset[tuple[Tensor, int]], batches: list[list[tuple[int, int]]], device: str, part: Part
    ) -> Iterator[tuple[Tensor, Tensor]]:
        pinned = torch.device(device).type == "cuda"
        workers = worker_count(part.count) if self.workers and part.count > 1 else self.workers
        loader = DataLoader(images, batch_sampler=batches, num_workers=workers, pin_memory=pinned)
        mean = torch.tensor(self.mean, device=device).view(1, -1, 1, 1) * 255
        std = torch.tensor(self.std, device=device).view(1, -1, 1, 1) * 255
        for pixels, labels in loader:  # [n, c, h, w] uint8, [n]
            pixels = pixels.to(device, non_blocking=True)
            yield pixels.float().sub_(mean).div_(std), labels.to(device, non_blocking=True)

    def _random(self) -> Any:
        v2 = _transforms()
        crop = v2.RandomResizedCrop(self.input_shape[1:], scale=(_SMALLEST_CROP, 1.0), antialias=True)
        return v2.Compose([crop, v2.RandomHorizontalFlip(0.5 if self.flip else 0.0), v2.PILToTensor()])

    def _steady(self) -> Any:
        v2 = _transforms()
        shorter = round(min(self.input_shape[1:]) * _BEFORE_CENTRE_CROP)
        return v2.Compose([v2.Resize(shorter, antialias=True), v2.CenterCrop(self.input_shape[1:]), v2.PILToTensor()])


def _transforms() -> ModuleType:
    import_torchvision()
    return importlib.import_module("torchvision.transforms.v2")


@dataclass(frozen=True, eq=False)
class _Images(Dataset[tuple[Tensor, int]]):
    """What a worker does with (index, seed): the random numbers of an image depend on its seed, not on the worker."""

    files: Files
    transform: Any
    channels: int

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, int]:
        index, seed = item
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            pixels = self.transform(open_image(self.files.paths[index], self.channels))
        return pixels, int(self.files.labels[index])


def open_image(path: Path, channels: int) -> Image.Image:
    """The decoded image, grey (1 channel) or colour (3), 8 bits.

    Raises:
        UsageError: not a readable image.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(
                    "L" if channels == 1 else "RGB"
                )
            return image.convert("L" if channels == 1 else "RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise UsageError(f"{path} is not a readable image ({error}): mend or delete it") from error


def worker_count(together: int = 1) -> int:
    """Decoding processes of each of so many that train together: one a core, 8 at most where one trains alone; else
    the cores are shared, and all of them decode, since that is what holds several GPUs up."""
    cores = len(os.sched_getaffinity(0))
    return min(8, cores) if together == 1 else max(1, cores // together)
