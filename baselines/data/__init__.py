"""Data sets and their parts: `load(name, ...)` opens any line of `DATASETS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from baselines.data import known
from baselines.data.arrays import ArrayData
from baselines.data.base import ImageData, SplitName, bounds, stratified
from baselines.data.fake import OPTIONS, Fake, fake
from baselines.data.files import FileData
from baselines.data.known import Request
from baselines.errors import UsageError, nearest
from baselines.nets.spec import parse_options, typed_options


@dataclass(frozen=True)
class Source:
    """A line of the table: what the data set is, how it is opened, and which options it takes."""

    summary: str
    open: Callable[..., ImageData]  # (request, **options)
    options: dict[str, type] = field(default_factory=dict)


def _fake(request: Request, **options: Any) -> ImageData:
    return fake(Fake(**({"size": request.size} if request.size else {}), **options), request.seed)


_COMMON: dict[str, type] = {"train": int, "size": int}  # how many of the training images; pixels a side

DATASETS: dict[str, Source] = {
    "digits": Source("1,797 handwritten digits at 16x16, part of scikit-learn", known.digits, _COMMON),
    "mnist": Source("MNIST, 28x28", known.mnist, _COMMON),
    "fashion_mnist": Source("Fashion-MNIST, 28x28", known.fashion_mnist, _COMMON),
    "cifar10": Source("CIFAR-10, 3x32x32", known.cifar10, _COMMON),
    "cifar100": Source("CIFAR-100, 3x32x32", known.cifar100, _COMMON),
    "svhn": Source("Street View House Numbers, 3x32x32", known.svhn, _COMMON),
    "cub200": Source("Caltech-UCSD Birds 200-2011, 3x224x224", known.cub200, _COMMON),
    "imagenet": Source("ImageNet in class folders train/ and val/, 3x224x224", known.imagenet, _COMMON),
    "folder": Source("your own class folders train/ [val/] test/, grey or colour, any size", known.folder, _COMMON),
    "fake": Source("made-up images that can be learnt; fake:classes=10:size=32:channels=3:count=2000", _fake, OPTIONS),
}


def load(name: str, *, data_dir: Path, download: bool = False, seed: int = 0, size: int | None = None) -> ImageData:
    """Opens a data set.

    name: a line of `DATASETS`, options after it (`fake:classes=4:size=8`, `cifar10:train=5000`).
    data_dir: where it is looked for, or fetched to.
    seed: draws the images of `fake`; nothing else depends on it, splits least of all.
    size: pixels a side to scale to; None keeps the data set's own.

    Raises:
        UsageError: no such data set or option; it is not there, cannot be fetched or is damaged.
    """
    kind, *words = name.split(":")
    if kind not in DATASETS:
        raise UsageError(f"unknown data set {kind!r}: {nearest(kind, DATASETS)}")
    source = DATASETS[kind]
    options = typed_options(parse_options(words, name), source.options, kind)
    asked = {key: options.pop(key) for key in tuple(options)} if source.options is _COMMON else {}
    size, part = asked.get("size", size), asked.get("train")
    if size is not None and size < 1:
        raise UsageError(f"{name}: size must be at least 1 pixel, got {size}: leave it out for the data set's own")
    data = source.open(Request(kind, Path(data_dir).expanduser(), download, seed, size, part), **options)
    told = "".join(f":{key}={value}" for key, value in asked.items())
    return replace(data, name=data.name + told) if told else data  # so that reports say so


__all__ = [
    "DATASETS",
    "ArrayData",
    "FileData",
    "ImageData",
    "Source",
    "SplitName",
    "bounds",
    "load",
    "stratified",
]
