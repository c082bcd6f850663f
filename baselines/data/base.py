"""What a data set is to the rest: batches of normalised images, the same ones for the same seed and epoch.

Three parts: `train`, `validation` (chooses) and `test` (opened once). Where the source has no validation part it is cut
from the training part, stratified by class and the same for every seed. Mean and deviation come from what is left of
the training part.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from baselines.errors import UsageError
from methods.base import Refused

SplitName = Literal["train", "validation", "test"]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The share of one of several processes that train together, `index` of `count`."""

    index: int
    count: int

    def of(self, begin: int, end: int) -> tuple[int, int]:
        """Its places of a batch from `begin` to `end`: shares follow one another, their sizes differ by at most one."""
        images = end - begin
        return begin + self.index * images // self.count, begin + (self.index + 1) * images // self.count


WHOLE = Part(0, 1)


@dataclass(frozen=True, eq=False)
class ImageData(ABC):
    """A labelled set of images of one size.

    mean, std: of each channel over the training part, pixels scaled to [0, 1].
    """

    name: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]  # (c, h, w)
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @abstractmethod
    def digest(self) -> str:
        """Hash of all parts: it changes with any image or label, also where counts and statistics stay."""

    @abstractmethod
    def count(self, split: SplitName) -> int:
        """Images in that part."""

    @abstractmethod
    def train_batches(
        self, batch_size: int, *, device: str, seed: int, epoch: int, augment: bool = True, part: Part = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: images [n, c, h, w] float32 normalised and labels [n] int64, every image once.

        Order and augmentation depend on (seed, epoch) alone. n is at most `batch_size` and never 1 (see `bounds`).
        part: of each batch only this share, the same images as in the whole of it.
        """

    @abstractmethod
    def batches(
        self, split: SplitName, batch_size: int, *, device: str, part: Part = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A split in fixed order without augmentation: images [n, c, h, w] float32 normalised, labels [n] int64.

        part: only every `part.count`-th of its batches, each of them whole.
        """

    @abstractmethod
    def labels(self, split: SplitName) -> Indices:
        """The classes [n] of a part's images, in the order of `batches`."""

    @abstractmethod
    def take(self, chosen: Indices) -> Self:
        """The same data with only these images of the training part; mean and deviation stay."""

    def subset(self, share: float) -> Self:
        """The same data with that share of the training images, of each class the same, always the same images.

        Raises:
            Refused: a class would have fewer than two.
        """
        labels = self.labels("train")
        _, chosen = stratified(labels, share)
        before, after = (np.bincount(some, minlength=self.classes) for some in (labels, labels[chosen]))
        if few := [name for name, had, has in zip(self.class_names, before, after, strict=True) if had and has < 2]:
            raise Refused(f"subset={share} leaves class {few[0]!r} fewer than two training images: take a larger share")
        return self.take(chosen)

    @abstractmethod
    def without_test(self) -> Self:
        """The same data without the test part, for what may not see it: asking for it raises KeyError."""

    def steps(self, batch_size: int) -> int:
        """Batches in an epoch of `train_batches`."""
        return len(bounds(self.count("train"), batch_size))


def bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Where the batches of an epoch begin and end: sizes differ by at most one, so there is no tiny last batch.

    A batch of one image has no batch statistics: with `batch_size` 2 and an odd count one batch has 3.

    Raises:
        ValueError: batch_size below 2.
    """
    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2, got {batch_size}: batch norm needs two images")
    number = min(-(-count // batch_size), max(1, count // 2)) if count else 0
    edges = [index * count // number for index in range(number + 1)] if number else []
    return list(itertools.pairwise(edges))


def stratified(labels: Indices, fraction: float) -> tuple[Indices, Indices]:
    """Indices in ascending order, (kept, cut): of each class the rounded `fraction` is cut, always the same images."""
    rng = np.random.default_rng(20_171)  # fixed: a split that moved with the seed would mix variances
    cut: list[Indices] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cut.append(members[: round(fraction * len(members))])
    chosen = np.sort(np.concatenate(cut)) if cut else np.zeros(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def share_of(labels: Indices, most: int | None) -> Indices:
    """Ascending indices of about `most` images, of each class its share, always the same ones; None takes all.

    Raises:
        UsageError: there are no more images than that, or a class would have fewer than two.
    """
    if most is None:
        return np.arange(len(labels))
    if not 0 < most < len(labels):
        raise UsageError(f"train={most} is no part of {len(labels)} training images: leave it out, or ask for fewer")
    _, chosen = stratified(labels, most / len(labels))
    if any((labels[chosen] == label).sum() < 2 for label in np.unique(labels)):
        raise UsageError(f"train={most} leaves a class fewer than two training images: ask for more")
    return chosen
