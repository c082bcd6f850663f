"""Small images: held as uint8 arrays, cut out, flipped and normalised a batch at a time on the device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.data.base import WHOLE, ImageData, Indices, Part, SplitName, bounds

Pixels = NDArray[np.uint8]
_Cut = Callable[[Indices, Indices, Indices], Tensor]  # (images, top, left) -> uint8 [n, h, w, c] on the device


@dataclass(frozen=True, eq=False)
class Split:
    """Images with `border` more pixels on each side, [n, h + 2 border, w + 2 border, c], and labels [n].

    The border repeats the edge; a random window of the image's size is a random shift of up to `border` pixels.
    """

    padded: Pixels
    labels: Indices
    border: int = 0

    @staticmethod
    def of(images: Pixels, labels: Indices, border: int = 0) -> Split:
        """images: [n, h, w, c]"""
        edges = ((0, 0), (border, border), (border, border), (0, 0))
        padded = np.pad(images, edges, mode="edge") if border else images
        return Split(np.ascontiguousarray(padded), np.asarray(labels, dtype=np.int64), border)

    @property
    def images(self) -> Pixels:
        """[n, h, w, c] without the border."""
        _, height, width, _ = self.padded.shape
        return self.padded[:, self.border : height - self.border, self.border : width - self.border]


@dataclass(frozen=True, eq=False)
class ArrayData(ImageData):
    """Images in memory. flip: mirror half of the training images, for pictures whose mirror image means the same."""

    splits: Mapping[SplitName, Split]
    flip: bool = False

    def digest(self) -> str:
        found = hashlib.sha256()
        for name, split in sorted(self.splits.items()):
            found.update(f"{name} {split.padded.shape} {split.border}\n".encode())
            found.update(np.ascontiguousarray(split.padded).data)
            found.update(np.ascontiguousarray(split.labels).data)
        return found.hexdigest()

    def count(self, split: SplitName) -> int:
        return len(self.splits[split].labels)

    def labels(self, split: SplitName) -> Indices:
        return self.splits[split].labels

    def take(self, chosen: Indices) -> ArrayData:
        train = self.splits["train"]
        part = Split(np.ascontiguousarray(train.padded[chosen]), train.labels[chosen], train.border)
        return replace(self, splits={**self.splits, "train": part})

    def without_test(self) -> ArrayData:
        return replace(self, splits={name: part for name, part in self.splits.items() if name != "test"})

    def batches(
        self, split: SplitName, batch_size: int, *, device: str, part: Part = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.splits[split].images, self.splits[split].labels
        scale, shift = self._affine(device)
        for begin in range(part.index * batch_size, len(labels), part.count * batch_size):
            pixels = torch.from_numpy(np.ascontiguousarray(images[begin : begin + batch_size]))  # [n, h, w, c]
            chosen = torch.from_numpy(labels[begin : begin + batch_size].copy())
            yield _normalised(pixels.to(device), scale, shift), chosen.to(device)

    def train_batches(
        self, batch_size: int, *, device: str, seed: int, epoch: int, augment: bool = True, part: Part = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        split = self.splits["train"]
        count, border = len(split.labels), split.border
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(count)
        top, left = rng.integers(0, 2 * border + 1, (2, count)) if augment else np.full((2, count), border)
        mirrored = rng.random(count) < 0.5 if augment and self.flip else np.zeros(count, dtype=bool)
        cut = _cutter(split, device)
        scale, shift = self._affine(device)
        for begin, end in (part.of(*edges) for edges in bounds(count, batch_size)):
            # those to be mirrored come first, so that they are one block; order within a batch has no meaning
            own = slice(begin, end)
            first = np.argsort(~mirrored[own], kind="stable") + begin
            pixels = cut(order[first], top[first], left[first])  # [n, h, w, c]
            _mirror(pixels[: int(mirrored[own].sum())])
            yield _normalised(pixels, scale, shift), torch.from_numpy(split.labels[order[first]]).to(device)

    def _affine(self, device: str) -> tuple[Tensor, Tensor]:
        """Scale and shift [w * c] that normalise a row of pixels in 0..255."""
        width = self.input_shape[2]
        mean = torch.tensor(self.mean, dtype=torch.float64) * 255
        std = torch.tensor(self.std, dtype=torch.float64) * 255
        scale, shift = 1 / std, -mean / std
        return scale.repeat(width).float().to(device), shift.repeat(width).float().to(device)


def _cutter(split: Split, device: str) -> _Cut:
    """A function that gathers windows of the padded images; every window is a view, so a gather is one copy."""
    count, height, width, channels = split.padded.shape
    by_image, by_row, by_pixel, by_channel = split.padded.strides
    moves = 2 * split.border + 1
    shape = (count, moves, moves, height - moves + 1, (width - moves + 1) * channels)
    strides = (by_image, by_row, by_pixel, by_row, by_channel)
    to_pixels = (-1, shape[3], width - moves + 1, channels)
    if torch.device(device).type == "cpu":  # numpy copies whole rows where torch goes value by value: 8x faster
        windows = np.lib.stride_tricks.as_strided(split.padded, shape, strides, writeable=False)
        return lambda images, top, left: torch.from_numpy(windows[images, top, left].reshape(to_pixels))
    there = torch.from_numpy(split.padded).to(device).as_strided(shape, strides)

    def cut(images: Indices, top: Indices, left: Indices) -> Tensor:
        where = torch.from_numpy(np.stack((images, top, left))).to(device)  # [3, n]
        return there[where[0], where[1], where[2]].view(to_pixels)

    return cut


def _mirror(pixels: Tensor) -> None:
    """Mirrors images [n, h, w, c] left to right in place; seen as channels-last, torch has a fast kernel for it."""
    images = pixels.permute(0, 3, 1, 2)
    images.copy_(images.flip(3))


def _normalised(pixels: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """uint8 [n, h, w, c] -> float32 [n, c, h, w], in channels-last order."""
    count, height, width, channels = pixels.shape
    rows = pixels.reshape(count, height, width * channels).float().mul_(scale).add_(shift)
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def largest_shift(height: int, pictures: bool) -> int:
    """Pixels of random shift in training: an eighth of a picture (4 of 32, as is usual), less of centred characters."""
    return max(1, height // (8 if pictures else 14))


def statistics(images: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of [n, h, w, c], pixels scaled to [0, 1]; the deviation is never zero."""
    channels = images.shape[-1]
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(channels)])
    shares = counts / counts.sum(axis=1, keepdims=True)  # [c, 256]
    values = np.arange(256) / 255
    mean = shares @ values
    variance = shares @ values**2 - mean**2
    return tuple(mean.tolist()), tuple(np.sqrt(np.maximum(variance, 1e-6)).tolist())
