"""Data sets with a name: how each is found, and what is done to its pixels."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from baselines.data.arrays import ArrayData, Pixels, Split, largest_shift, statistics
from baselines.data.base import ImageData, Indices, SplitName, share_of, stratified
from baselines.data.files import Files
from baselines.data.folder import class_folders, from_files
from baselines.errors import UsageError, first_line
from baselines.torchvision_import import import_torchvision

_DIGITS = tuple("0123456789")
_VALIDATION = 0.1  # of the training part


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    size: pixels a side; None keeps the data set's own.
    train: about so many images of the training part, a validation part that is cut from it included; None is all.
    """

    name: str
    data_dir: Path
    download: bool = False
    seed: int = 0
    size: int | None = None
    train: int | None = None


def resized(images: Pixels, size: int | None) -> Pixels:
    """[n, h, w, c] -> [n, size, size, c], bilinear, antialiased; None leaves them alone."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    scaled = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return np.ascontiguousarray(scaled.round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).numpy())


def in_memory(
    name: str,
    class_names: tuple[str, ...],
    parts: dict[SplitName, tuple[Pixels, Indices]],
    flip: bool,
    train: int | None = None,
) -> ArrayData:
    """A data set of arrays. Where there is no validation part, it is cut from the training part.

    parts: images [n, h, w, c] and labels [n].
    train: about so many images of the training part.
    """
    if train is not None:
        images, labels = parts["train"]
        chosen = share_of(labels, train)
        parts = {**parts, "train": (images[chosen], labels[chosen])}
    if "validation" not in parts:
        images, labels = parts["train"]
        kept, cut = stratified(labels, _VALIDATION)
        parts = {**parts, "train": (images[kept], labels[kept]), "validation": (images[cut], labels[cut])}
    images = parts["train"][0]
    mean, std = statistics(images)
    border = largest_shift(images.shape[1], flip)
    splits = {split: Split.of(*part, border=border if split == "train" else 0) for split, part in parts.items()}
    shape = (images.shape[3], images.shape[1], images.shape[2])
    return ArrayData(name, class_names, shape, mean, std, splits, flip)


def digits(request: Request) -> ImageData:
    """scikit-learn's 1,797 digits of 8x8 pixels, enlarged to 16x16; 70 % train, 10 % validation, 20 % test."""
    values, labels = _digits_of_scikit_learn()
    pixels = np.round(values * (255 / 16)).astype(np.uint8)[..., None]  # [n, 8, 8, 1]
    images = resized(pixels, request.size or 16)
    rest, test = stratified(labels, 0.2)
    train, validation = stratified(labels[rest], 0.125)
    chosen: dict[SplitName, Indices] = {"train": rest[train], "validation": rest[validation], "test": test}
    parts = {split: (images[index], labels[index]) for split, index in chosen.items()}
    return in_memory("digits", _DIGITS, parts, flip=False, train=request.train)


def _digits_of_scikit_learn() -> tuple[np.ndarray, Indices]:
    """Pixels from 0 to 16 [n, 8, 8] and labels [n]. Read from the package's own file, where it is as we know it:
    importing the package takes every process that reads data longer than all else that it imports but torch."""
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        if (file := Path(folder) / "datasets" / "data" / "digits.csv.gz").is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    raw = load_digits()
    return raw.images, raw.target.astype(np.int64)


def _from_torchvision(request: Request, kind: str, **which: Any) -> Any:
    """One part of a torchvision data set.

    Raises:
        UsageError: it is not there, or cannot be fetched.
    """
    datasets = import_torchvision().datasets
    where = request.data_dir
    try:
        return getattr(datasets, kind)(root=str(where), download=request.download, **which)
    except (RuntimeError, OSError, ValueError) as error:
        if request.download:
            raise UsageError(f"{kind} cannot be fetched to {where} ({first_line(error)}): "
                             f"check the network, or pass --data-dir DIR where it is") from error  # fmt: skip
        raise UsageError(f"{kind} is not in {where}: add --download to fetch it, or pass --data-dir DIR where it is, "
                         f"laid out as torchvision.datasets.{kind}(root=DIR) reads it") from error  # fmt: skip


def _torchvision_pair(kind: str, flip: bool, class_names: tuple[str, ...] = ()) -> Callable[[Request], ImageData]:
    def load(request: Request) -> ImageData:
        parts: dict[SplitName, tuple[Pixels, Indices]] = {}
        for split, train in (("train", True), ("test", False)):
            source = _from_torchvision(request, kind, train=train)
            images = np.asarray(source.data)
            images = images[..., None] if images.ndim == 3 else images
            parts[split] = (resized(images, request.size), np.asarray(source.targets, dtype=np.int64))  # type: ignore[index]
        return in_memory(request.name, class_names or tuple(source.classes), parts, flip, request.train)

    return load


mnist = _torchvision_pair("MNIST", flip=False, class_names=_DIGITS)
fashion_mnist = _torchvision_pair("FashionMNIST", flip=True)
cifar10 = _torchvision_pair("CIFAR10", flip=True)
cifar100 = _torchvision_pair("CIFAR100", flip=True)


def svhn(request: Request) -> ImageData:
    """Street View House Numbers, cropped digits of 32x32."""
    parts: dict[SplitName, tuple[Pixels, Indices]] = {}
    for split in ("train", "test"):
        source = _from_torchvision(request, "SVHN", split=split)
        images = np.ascontiguousarray(source.data.transpose(0, 2, 3, 1))
        parts[split] = (resized(images, request.size), source.labels.astype(np.int64))  # type: ignore[index]
    return in_memory("svhn", _DIGITS, parts, flip=False, train=request.train)


def folder(request: Request) -> ImageData:
    """A person's own class folders; `data_dir` is the folder."""
    root = request.data_dir
    parts: dict[SplitName, str] = {"train": "train", "validation": "val", "test": "test"}
    return class_folders(root, root.resolve().name, request.size, parts, request.train)


def imagenet(request: Request) -> ImageData:
    """`train/` and `val/` class folders, in `data_dir/imagenet` or `data_dir`; `val` is the test part."""
    inside = request.data_dir / "imagenet"
    root = inside if inside.is_dir() else request.data_dir
    return class_folders(root, "imagenet", request.size or 224, {"train": "train", "test": "val"}, request.train)


def cub200(request: Request) -> ImageData:
    """Caltech-UCSD Birds 200-2011, in `data_dir/CUB_200_2011` or `data_dir`."""
    inside = request.data_dir / "CUB_200_2011"
    root = inside if inside.is_dir() else request.data_dir
    try:
        images = _two_columns(root / "images.txt")
        is_train = _two_columns(root / "train_test_split.txt")
    except OSError as error:
        raise UsageError(
            f"cub200 is not in {root} ({error.strerror}: {error.filename}): unpack it from "
            f"https://data.caltech.edu/records/65de6-vp158 and pass --data-dir DIR"
        ) from error
    folders = sorted({path.partition("/")[0] for path in images.values()})
    splits: dict[SplitName, Files] = {}
    for split, mark in (("train", "1"), ("test", "0")):
        paths = [path for key, path in images.items() if is_train.get(key) == mark]
        labels = np.array([folders.index(path.partition("/")[0]) for path in paths], dtype=np.int64)
        if not paths:
            raise UsageError(f"{root / 'train_test_split.txt'} marks no image as {split}: unpack the data set again")
        splits[split] = Files([root / "images" / path for path in paths], labels)  # type: ignore[index]
    class_names = tuple(name.partition(".")[2] or name for name in folders)
    return from_files("cub200", class_names, splits, request.size or 224, request.train)


def _two_columns(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line.strip())
