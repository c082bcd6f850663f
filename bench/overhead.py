"""What the harness itself costs: `python -m bench.overhead`. Writes docs/studies/overhead.md.

Two ratios, each of medians of samples taken by turns in one process:
an epoch of `baselines.training.train` (input pipeline, augmentation, checks, logs, snapshot, validation) over a bare
loop that does the same arithmetic on batches made beforehand; and the images a second of the input pipeline alone over
those of a torchvision `DataLoader` with per-image crop, flip and normalisation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from baselines import nets
from baselines.data import ArrayData, load
from baselines.torchvision_import import import_torchvision
from baselines.training import Recipe, default_recipe, make_optimizer, train
from bench.environment import environment

_LARGEST_EPOCH_RATIO = 1.05
_SMALLEST_PIPELINE_RATIO = 20.0
_EPOCHS = (("resnet18", "digits"), ("resnet8", "fake:size=32:channels=3:count=1500"),
           ("lenet_caffe", "fake:size=28:count=6000"))  # fmt: skip
_BATCH = 128
Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Comparison:
    """Seconds of ours and of what it is held against, taken by turns."""

    title: str
    ours_s: tuple[float, ...]
    other_s: tuple[float, ...]
    images: tuple[int, int]  # that one sample of ours, and of the other, goes through

    @property
    def cost(self) -> float:
        """Median time an image of ours over the other's."""
        ours, other = statistics.median(self.ours_s) / self.images[0], statistics.median(self.other_s) / self.images[1]
        return ours / other

    def rates(self) -> tuple[float, float]:
        """Images a second of ours and of the other, by medians."""
        return self.images[0] / statistics.median(self.ours_s), self.images[1] / statistics.median(self.other_s)


def by_turns(title: str, ours: Callable[[], int], other: Callable[[], int], rounds: int) -> Comparison:
    """Times both `rounds` times, alternating which goes first, after one untimed turn each. They return images."""
    images = ours(), other()
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for which in (turn % 2, 1 - turn % 2):
            started = time.perf_counter()
            (ours, other)[which]()
            seconds[which].append(time.perf_counter() - started)
    return Comparison(title, tuple(seconds[0]), tuple(seconds[1]), images)


def bare_epoch(model: nn.Module, train_part: Batches, validation: Batches, recipe: Recipe) -> int:
    """The arithmetic of an epoch and nothing else, on batches that are in memory."""
    optimizer = make_optimizer(model, recipe)
    trained = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    model.train()
    for images, labels in train_part:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        for images, _ in validation:
            model(images).argmax(1)
    return sum(len(labels) for _, labels in train_part)


def compare_epoch(net: str, dataset: str, rounds: int, folder: Path) -> Comparison:
    """An epoch under the harness, snapshot included, and a bare one, on two copies of one network."""
    data = load(dataset, data_dir=folder)
    recipe = default_recipe(net, dataset)
    ours, bare = (nets.build(net, classes=data.classes, input_shape=data.input_shape, seed=0) for _ in range(2))
    train_part = list(data.train_batches(recipe.batch_size, device="cpu", seed=0, epoch=1))
    validation = list(data.batches("validation", 256, device="cpu"))
    snapshot = folder / "snapshot.pt"

    def harness() -> int:
        snapshot.unlink(missing_ok=True)
        logs = train(ours, data, stage="overhead", epochs=1, lr=recipe.lr, recipe=recipe, seed=0, snapshot=snapshot,
                     on_epoch=lambda _: None, on_batch=lambda *_: None)  # fmt: skip
        return logs[0].samples

    shape = "x".join(map(str, data.input_shape))
    title = f"{net} at {shape}, {data.count('train')} images, batch {recipe.batch_size}"
    return by_turns(title, harness, lambda: bare_epoch(bare, train_part, validation, recipe), rounds)


@dataclass(frozen=True, eq=False)
class _Pictures(Dataset[tuple[Tensor, int]]):
    """Decoded images and a per-image transform, as torchvision's CIFAR-10 does it."""

    pixels: Any  # [n, h, w, c] uint8
    labels: list[int]
    transform: Any

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def compare_pipeline(workers: int, rounds: int) -> Comparison:
    """An epoch of each input pipeline at 3x32x32, nothing computed on the batches."""
    data = load("fake:size=32:channels=3:count=5600", data_dir=Path())
    assert isinstance(data, ArrayData)
    ours = ArrayData(data.name, data.class_names, data.input_shape, data.mean, data.std, data.splits, flip=True)
    transforms = import_torchvision().transforms
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
             transforms.Normalize(data.mean, data.std)]  # fmt: skip
    part = data.splits["train"]
    pictures = _Pictures(part.images, part.labels.tolist(), transforms.Compose(steps))
    loader = DataLoader(pictures, batch_size=_BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def pipeline() -> int:
        return sum(len(labels) for epoch in range(4)
                   for _, labels in ours.train_batches(_BATCH, device="cpu", seed=0, epoch=epoch))  # fmt: skip

    title = f"DataLoader with {workers} worker processes" if workers else "DataLoader without worker processes"
    return by_turns(title, pipeline, lambda: sum(len(labels) for _, labels in loader), rounds)


def page(epochs: Sequence[Comparison], pipelines: Sequence[Comparison], command: str) -> str:
    """The study as Markdown."""
    where = environment()
    packages = ", ".join(f"{name} {where['packages'].get(name)}" for name in ("torch", "torchvision", "numpy"))
    changed = " with changes" if where["commit_dirty"] else ""
    load_1, load_5, _ = os.getloadavg()
    lines = [
        "# What the harness costs",
        "",
        f"Made by `{command}`, commit {where['commit']}{changed}, {where['date']}.",
        f"Python {where['python']}, {packages}; {where['cpu']['model']}, {where['cpu']['usable_cores']} cores, "
        f"{torch.get_num_threads()} threads; load average at the end {load_1:.1f} (1 min), {load_5:.1f} (5 min).",
        "",
        "Samples of both sides are taken by turns in one process; ratios are of their medians.",
        "",
        f"## An epoch under the harness, over a bare loop (at most {_LARGEST_EPOCH_RATIO})",
        "",
        "| epoch of | harness s | bare s | ratio | kept |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.title} | {_spread(one.ours_s)} | {_spread(one.other_s)} | {one.cost:.3f} | "
        f"{_yes(one.cost <= _LARGEST_EPOCH_RATIO)} |"
        for one in epochs
    ]
    lines += [
        "",
        f"## Images a second at 3x32x32, over a torchvision DataLoader (at least {_SMALLEST_PIPELINE_RATIO:g})",
        "",
        "| held against | ours images/s | its images/s | ratio | kept |",
        "|---|---|---|---|---|",
    ]
    for one in pipelines:
        ours, other = one.rates()
        kept = _yes(1 / one.cost >= _SMALLEST_PIPELINE_RATIO)
        lines.append(f"| {one.title} | {ours:,.0f} | {other:,.0f} | {1 / one.cost:.1f} | {kept} |")
    return "\n".join([*lines, ""])


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"


def _yes(kept: bool) -> str:
    return "yes" if kept else "no"


def main() -> int:
    """The command: 0 if both ratios are kept, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="samples of each side")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("docs/studies/overhead.md"))
    typed = parser.parse_args()
    torch.set_num_threads(typed.threads)
    with tempfile.TemporaryDirectory() as folder:
        epochs = [compare_epoch(net, dataset, typed.rounds, Path(folder)) for net, dataset in _EPOCHS]
    pipelines = [compare_pipeline(workers, typed.rounds) for workers in sorted({0, typed.threads})]
    command = f"python -m bench.overhead --rounds {typed.rounds} --threads {typed.threads}"
    text = page(epochs, pipelines, command)
    typed.out.parent.mkdir(parents=True, exist_ok=True)
    typed.out.write_text(text, encoding="utf-8")
    print(text)
    kept = all(one.cost <= _LARGEST_EPOCH_RATIO for one in epochs)
    return 0 if kept and all(1 / one.cost >= _SMALLEST_PIPELINE_RATIO for one in pipelines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
