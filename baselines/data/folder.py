"""Class folders: `train/CLASS/image`, `test/CLASS/image` and, if there is one, `val/CLASS/image`."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from baselines.data.arrays import ArrayData, Pixels, Split, largest_shift, statistics
from baselines.data.base import ImageData, SplitName, share_of, stratified
from baselines.data.files import FileData, Files, open_image, worker_count
from baselines.errors import UsageError
from baselines.parts import part_of

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
_IN_MEMORY_PIXELS = 64  # a side; larger images stay on disk
_IN_MEMORY_BYTES = 2 << 30
_LARGEST = 224  # pixels a side, unless a size is asked for
_LOOKED_AT = 64  # images opened to find size and channels
_MEASURED = 1024  # large images opened to find mean and deviation
_VALIDATION = 0.1


@dataclass(frozen=True)
class _Form:
    """(c, h, w) that all images are brought to."""

    channels: int
    height: int
    width: int


def class_folders(
    root: Path, name: str, size: int | None, parts: dict[SplitName, str], train: int | None = None
) -> ImageData:
    """The data set under `root`.

    parts: the folder of each part; a part without a folder is cut from the training part (`validation`).
    size: pixels a side; None takes the images' own where they agree, and at most 224.
    train: about so many images of the training part; None is all.

    Raises:
        UsageError: no training or test folder, no images, a class only the test part has, an unreadable image.
    """
    listed = {split: _listing(root / folder) for split, folder in parts.items() if (root / folder).is_dir()}
    for needed in ("train", "test"):
        if not any(listed.get(needed, {}).values()):  # type: ignore[call-overload]
            raise UsageError(f"there are no images in class folders under {root / parts[needed]}: "  # type: ignore[index]
                             f"pass --data-dir DIR with DIR/{parts['train']}/CLASS/IMAGE and "
                             f"DIR/{parts['test']}/CLASS/IMAGE")  # fmt: skip
    class_names = tuple(sorted(listed["train"]))
    splits: dict[SplitName, Files] = {}
    for split, folders in listed.items():
        if strangers := sorted(set(folders) - set(class_names)):
            raise UsageError(f"{root / parts[split]} has the class {strangers[0]!r}, which {root / parts['train']} "
                             f"has not: the parts need the same class folders")  # fmt: skip
        labels = [index for index, label in enumerate(class_names) for _ in folders.get(label, ())]
        paths = [path for label in class_names for path in folders.get(label, ())]
        splits[split] = Files(paths, np.array(labels, dtype=np.int64))
    return from_files(name, class_names, splits, size, train)


def _listing(folder: Path) -> dict[str, list[Path]]:
    """Images of each class folder, sorted by name; hidden folders are none."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return {name: [folder / name / file for file in sorted(os.listdir(folder / name))
                   if Path(file).suffix.lower() in _SUFFIXES] for name in names}  # fmt: skip


def from_files(
    name: str, class_names: tuple[str, ...], splits: dict[SplitName, Files], size: int | None, train: int | None = None
) -> ImageData:
    """Image files as a data set: in memory if they are small, else read as they are needed.

    train: about so many images of the training part; None is all.
    """
    splits["train"] = _taken(splits["train"], share_of(splits["train"].labels, train))
    if "validation" not in splits:
        kept, cut = stratified(splits["train"].labels, _VALIDATION)
        splits["validation"], splits["train"] = _taken(splits["train"], cut), _taken(splits["train"], kept)
    form = _form(splits["train"].paths, size)
    shape = (form.channels, form.height, form.width)
    colour = form.channels == 3
    total = sum(len(files.paths) for files in splits.values()) * form.channels * form.height * form.width
    if max(form.height, form.width) <= _IN_MEMORY_PIXELS and total <= _IN_MEMORY_BYTES:
        arrays = {split: _decoded(files.paths, form) for split, files in splits.items()}
        mean, std = statistics(arrays["train"])
        border = largest_shift(form.height, colour)
        held = {split: Split.of(arrays[split], files.labels, border if split == "train" else 0)
                for split, files in splits.items()}  # fmt: skip
        return ArrayData(name, class_names, shape, mean, std, held, flip=colour)
    mean, std = statistics(_decoded(_spread(splits["train"].paths, _MEASURED), form))
    return FileData(name, class_names, shape, mean, std, splits, worker_count(), flip=colour)


def _taken(files: Files, indices: np.ndarray) -> Files:
    return Files([files.paths[index] for index in indices], files.labels[indices])


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the paths, evenly spread."""
    return [paths[index] for index in np.unique(np.linspace(0, len(paths) - 1, count).astype(int))]


def _form(paths: Sequence[Path], size: int | None) -> _Form:
    """What the first images have in common: their size if they agree, grey if all are."""
    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for path in _spread(paths, _LOOKED_AT):
        try:
            with Image.open(path) as image:
                sizes[image.size] += 1
                grey = grey and image.mode in {"1", "L", "LA", "I", "I;16", "I;16B", "F"}
        except (OSError, SyntaxError, ValueError) as error:
            raise UsageError(f"{path} is not a readable image ({error}): mend or delete it") from error
    channels = 1 if grey else 3
    width, height = next(iter(sizes))
    if size is None and len(sizes) == 1 and max(width, height) <= _LARGEST:
        return _Form(channels, height, width)
    side = size or min(_LARGEST, int(np.median([min(one) for one in sizes.elements()])))
    return _Form(channels, side, side)


def _decoded(paths: Sequence[Path], form: _Form) -> Pixels:
    """All images, [n, h, w, c]; kept in the person's cache folder, so that the next start reads one file."""
    cached = _cache_path(paths, form)
    shape = (len(paths), form.height, form.width, form.channels)
    if cached.is_file():
        try:
            pixels = np.load(cached, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            pixels = np.empty(0, dtype=np.uint8)  # damaged: decoded again below, and written over
        if pixels.shape == shape and pixels.dtype == np.uint8:
            return pixels
    pixels = np.empty(shape, dtype=np.uint8)

    def decode(chunk: Iterable[int]) -> None:
        for index in chunk:
            pixels[index] = _fitted(open_image(paths[index], form.channels), form)

    workers = worker_count()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode, [range(start, len(paths), workers) for start in range(workers)]))
    _keep(pixels, cached)
    return pixels


def _fitted(image: Image.Image, form: _Form) -> Pixels:
    """[h, w, c]: scaled until it covers the form, then cut at the centre."""
    if image.size != (form.width, form.height):
        scale = max(form.width / image.width, form.height / image.height)
        width, height = max(form.width, round(image.width * scale)), max(form.height, round(image.height * scale))
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
        left, top = (width - form.width) // 2, (height - form.height) // 2
        image = image.crop((left, top, left + form.width, top + form.height))
    return np.asarray(image, dtype=np.uint8).reshape(form.height, form.width, form.channels)


def _cache_path(paths: Sequence[Path], form: _Form) -> Path:
    """Named after what the array depends on: every file's path, size and time of change, and the form."""
    digest = hashlib.sha256(repr(form).encode())
    for path in paths:
        status = path.stat()
        digest.update(f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "compression-bench" / "images" / f"{digest.hexdigest()[:32]}.npy"


def _keep(pixels: Pixels, path: Path) -> None:
    """Writes the cache whole or not at all. A folder that cannot be written costs only the time to decode again."""
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
