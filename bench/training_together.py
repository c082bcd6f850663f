"""What processes that train together exchange, and how fast a core decodes photographs: `python -m
bench.training_together`.

Bytes and multiply-accumulates are counted, decoding is measured, in seconds of the processor. Nothing is measured on a
GPU: what a GPU computes and what a link carries is for the reader to put in.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from baselines import nets
from baselines.data.base import Indices
from baselines.data.files import FileData, Files, open_image
from bench.measure.macs import macs_of
from bench.study_page import made_at, made_by
from methods.graph import trace

_NETS = ("resnet18", "resnet50", "vgg16", "mobilenet_v2")
_SIDE = 224
_CLASSES = 1000
_PROCESSES = 8
_BATCHES = (256, 2048)  # the recipe's, and one that keeps as many images a GPU as usual
_SIZES = ((224, 224), (400, 300), (500, 375))  # width, height
_RATES = (300, 1000, 3000)  # images a second that a GPU trains
_TRAINING_FLOP = 6  # of a multiply-accumulate: two operations, in a forward pass and a backward pass of twice its cost
_QUALITY = 95


@dataclass(frozen=True)
class Exchange:
    """What one network costs a step. macs: of one image."""

    net: str
    parameters: int
    macs: int

    @property
    def gradient_bytes(self) -> int:
        return 4 * self.parameters

    @property
    def sent_bytes(self) -> float:
        """What a ring of all processes sends from each of them."""
        return 2 * (_PROCESSES - 1) / _PROCESSES * self.gradient_bytes

    def flop(self, batch: int) -> float:
        """Operations of one process for its part of a batch."""
        return _TRAINING_FLOP * self.macs * batch / _PROCESSES

    def bytes_a_flop(self, batch: int) -> float:
        """GB/s that a process must send for each TFLOP/s that it computes, so that the one takes as long as the
        other, are a thousand times this."""
        return self.sent_bytes / self.flop(batch)


@dataclass(frozen=True)
class Decoding:
    """Images of one size: bytes of a file, and images a second of one core for each thing that is done."""

    size: tuple[int, int]
    file_bytes: float
    opened: float  # only decoded
    trained: float  # decoded, cut at random, scaled
    scored: float  # decoded, scaled, cut at the centre


def exchange(net: str) -> Exchange:
    """Counts one network at ImageNet's size."""
    model = nets.build(net, classes=_CLASSES, input_shape=(3, _SIDE, _SIDE), seed=0)
    parameters = sum(one.numel() for one in model.parameters())
    return Exchange(net, parameters, macs_of(trace(model), (3, _SIDE, _SIDE)))


def photographs(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """JPEG files of that size, cut from the two photographs that scikit-learn brings."""
    from sklearn.datasets import load_sample_images

    width, height = size
    rng, paths = np.random.default_rng(0), []
    for index in range(count):
        pixels = load_sample_images().images[index % 2]  # [h, w, c]
        rows, columns = pixels.shape[:2]
        scale = rng.uniform(max(width / columns, height / rows), 1)
        top, left = (
            int(rng.integers(0, whole - part + 1))
            for whole, part in ((round(rows * scale), height), (round(columns * scale), width))
        )
        image = Image.fromarray(pixels).resize((round(columns * scale), round(rows * scale)))
        paths.append(folder / f"{width}x{height}-{index}.jpg")
        image.crop((left, top, left + width, top + height)).save(paths[-1], quality=_QUALITY)
    return paths


def decoding(paths: Sequence[Path], size: tuple[int, int], rounds: int) -> Decoding:
    """Times what a decoding process does with the files: medians of `rounds`."""
    labels: Indices = np.zeros(len(paths), dtype=np.int64)
    files = Files(paths, labels)
    data = FileData("photographs", ("one",), (3, _SIDE, _SIDE), (0.5,) * 3, (0.25,) * 3, {"train": files})
    random, steady = data.decoded("train", augment=True), data.decoded("train", augment=False)
    works = (
        lambda index: open_image(paths[index], 3),
        lambda index: random[index, index],  # type: ignore[index]
        lambda index: steady[index, index],  # type: ignore[index]
    )
    rates = []
    for work in works:
        seconds = []
        for _ in range(rounds):
            started = time.process_time()
            for index in range(len(paths)):
                work(index)
            seconds.append(time.process_time() - started)
        rates.append(len(paths) / statistics.median(seconds))
    return Decoding(size, statistics.fmean(path.stat().st_size for path in paths), *rates)


def page(exchanges: Sequence[Exchange], decodings: Sequence[Decoding]) -> str:
    """The study as Markdown."""
    heads = [f"batch {batch}: GFLOP a process and step | GB/s for each TFLOP/s" for batch in _BATCHES]
    lines = [
        "# What training on several GPUs exchanges and reads",
        "",
        f"By {made_by('bench.training_together')}. {made_at(('torch', 'torchvision'))}",
        "",
        "## Gradients",
        "",
        f"Of one step with {_PROCESSES} processes and images of {_SIDE}x{_SIDE}, counted: gradients are float32, a "
        "ring sends 2 (N - 1) / N of their bytes from each process, and training takes three times the operations of a "
        "forward pass. The last columns are bytes over operations: where a link carries more GB/s for each TFLOP/s of "
        "the GPU, the exchange takes less time than the computing, beside which it runs.",
        "",
        f"| net | parameters | gradient MB | sent MB a process | {' | '.join(heads)} |",
        "|---|---:|---:|---:|" + 2 * len(_BATCHES) * "---:|",
    ]
    for one in exchanges:
        cells = [f"{one.flop(batch) / 1e9:,.0f} | {1e3 * one.bytes_a_flop(batch):.3f}" for batch in _BATCHES]
        lines.append(
            f"| {one.net} | {one.parameters:,} | {one.gradient_bytes / 1e6:.1f} | {one.sent_bytes / 1e6:.1f} | "
            f"{' | '.join(cells)} |"
        )
    lines += [
        "",
        "## Decoding",
        "",
        f"Images a second of one core, in processor time, of JPEG files (quality {_QUALITY}) cut from photographs: "
        "decoded only; decoded, cut at random and scaled, as in training; decoded, scaled and cut at the centre, as in "
        "validation.",
        "",
        f"| pixels | file kB | decoded | training to {_SIDE} | validation to {_SIDE} |",
        "|---|---:|---:|---:|---:|",
    ]
    for each in decodings:
        rates = f"{each.opened:.0f} | {each.trained:.0f} | {each.scored:.0f}"
        lines.append(f"| {each.size[0]}x{each.size[1]} | {each.file_bytes / 1e3:.0f} | {rates} |")
    largest = decodings[-1]
    lines += [
        "",
        f"Cores of this kind that decode {largest.size[0]}x{largest.size[1]} for {_PROCESSES} GPUs, by their pace, "
        "beside one for each process that trains:",
        "",
        "| images/s a GPU | cores |",
        "|---:|---:|",
        *(f"| {rate:,} | {_PROCESSES * rate / largest.trained:.0f} |" for rate in _RATES),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.training_together", description=__doc__)
    parser.add_argument("--images", type=int, default=64, help="of each size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/studies/training_together.md"))
    typed = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="photographs-") as folder:
        decodings = [decoding(photographs(Path(folder), size, typed.images), size, typed.rounds) for size in _SIZES]
    text = page([exchange(net) for net in _NETS], decodings)
    typed.out.parent.mkdir(parents=True, exist_ok=True)
    typed.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
