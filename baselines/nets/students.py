"""Small networks for a teacher to teach: blocks of convolution, batch norm, ReLU and pooling, a hidden linear layer or
none, and the head. `student:widths=32-64:kernel=3:hidden=0:dropout=0` is any of the family; `scan` lists a range of it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from baselines.errors import UsageError
from baselines.nets.classic import Shape, sequence
from baselines.nets.spec import parse_options, typed_options

OPTIONS: dict[str, type] = {"widths": str, "kernel": str, "hidden": int, "dropout": float, "under": str}
_MOST_SCANNED = 10_000
_SMALL = 32  # pixels a side up to which the last map is taken as it is


def student(
    classes: int,
    input_shape: Shape,
    widths: str = "32-64-96-128",
    kernel: str = "3",
    hidden: int = 0,
    dropout: float = 0.0,
    under: str = "",
) -> nn.Module:
    """A network of the family.

    widths: outputs of the convolutions. kernel: taps a side of all of them, or of each; odd. hidden: outputs of the
    linear layer before the head; 0 for none. dropout: probability before the head.
    Each convolution keeps the size and is followed by 2x2 max pooling while the map has 2 pixels a side. Of images
    above 32 pixels the last map is averaged down to about the size that 32 pixels would leave.

    Raises:
        UsageError: an option that cannot be, or options of a scan.
    """
    if under or "/" in widths + kernel:
        raise UsageError(
            "under= and values a/b/c stand for many students, not for one network: "
            "write them in a method, as in distill:student='student:widths=16-32/32-64:under=50000'"
        )
    outputs, taps = _numbers("widths", widths), _numbers("kernel", kernel)
    taps = taps * len(outputs) if len(taps) == 1 else taps
    if len(taps) != len(outputs) or not all(one % 2 for one in taps):
        raise UsageError(f"student:kernel must be one odd number or one a convolution ({len(outputs)}), got {kernel}")
    if hidden < 0 or not 0 <= dropout < 1:
        raise UsageError(f"student needs hidden of 0 or more and dropout in [0, 1), got {hidden} and {dropout}")
    layers, features = _blocks(input_shape, outputs, taps)
    if hidden:
        layers |= {"fc1": nn.Linear(features, hidden), "norm_fc1": nn.BatchNorm1d(hidden), "relu_fc1": nn.ReLU()}
        features = hidden
    return sequence(**layers, dropout=nn.Dropout(dropout), head=nn.Linear(features, classes))


def _blocks(input_shape: Shape, outputs: list[int], taps: list[int]) -> tuple[dict[str, nn.Module], int]:
    """The convolutions with what belongs to them up to flattening, and the number of values of an image then."""
    channels, *sides = input_shape
    usual = [min(side, _SMALL) for side in sides]
    layers: dict[str, nn.Module] = {}
    for index, (after, size) in enumerate(zip(outputs, taps, strict=True), start=1):
        layers[f"conv{index}"] = nn.Conv2d(channels, after, size, padding=size // 2)
        layers[f"norm{index}"], layers[f"relu{index}"] = nn.BatchNorm2d(after), nn.ReLU()
        if min(sides) >= 2:
            layers[f"pool{index}"] = nn.MaxPool2d(2)
            sides, usual = [side // 2 for side in sides], [side // 2 for side in usual]
        channels = after
    window = [side // max(1, small) for side, small in zip(sides, usual, strict=True)]
    if max(window) > 1:
        layers["average"] = nn.AvgPool2d((window[0], window[1]))
        sides = [side // taken for side, taken in zip(sides, window, strict=True)]
    layers["flatten"] = nn.Flatten()
    return layers, channels * sides[0] * sides[1]


def _numbers(name: str, text: str) -> list[int]:
    parts = text.split("-")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(
            f"student:{name} must be whole numbers of 1 or more joined by -, got {text!r}: as in 32-64-128"
        )
    return [int(part) for part in parts]


@dataclass(frozen=True)
class Named:
    """A student that has a name of its own. parameters: at 3x32x32 and 10 classes."""

    widths: str
    kernel: str
    hidden: int
    parameters: int

    def __call__(self, classes: int, input_shape: Shape, dropout: float = 0.0) -> nn.Module:
        return student(classes, input_shape, self.widths, self.kernel, self.hidden, dropout)

    @property
    def summary(self) -> str:
        hidden = f"hidden {self.hidden}" if self.hidden else "no hidden layer"
        size = f"{self.parameters:,} parameters at 3x32x32"
        return f"student of widths {self.widths}, kernel {self.kernel}, {hidden}; {size}"


STUDENTS = {
    "student_base": Named("32-64-128-256", "3", 256, 654_858),
    "student1": Named("32-64-96-128", "3", 0, 191_274),
    "student2": Named("32-64-96-128", "3", 64, 219_754),
    "student3": Named("32-48-72-128", "5-5-3-3", 128, 222_898),
    "student4": Named("16-32-64-128", "3", 0, 103_050),
    "student5": Named("24-48-72-96", "3-3-5-5", 0, 274_786),
    "student6": Named("32-64-128", "3", 0, 114_186),
}


def parameters(make: Callable[[int, Shape], nn.Module], classes: int, input_shape: Shape) -> int:
    """Of the network that `make` would make; no memory is taken for it."""
    with torch.device("meta"):
        return sum(tensor.numel() for tensor in make(classes, input_shape).parameters())


def scan(text: str, classes: int, input_shape: Shape) -> tuple[str, ...]:
    """The students that `student:KEY=a/b:...:under=PARAMETERS` stands for, in rising size; equal ones once.

    Raises:
        UsageError: a value that cannot be, or no student is small enough; the smallest is named.
    """
    options = parse_options(text.split(":")[1:], text)
    most = options.pop("under", "")
    if most and not (most.isdecimal() and int(most)):
        raise UsageError(f"{text}: under must be a number of parameters of 1 or more, got {most!r}")
    choices = [[f"{key}={value.strip()}" for value in typed.split("/")] for key, typed in options.items()]
    count = math.prod(map(len, choices))
    if count > _MOST_SCANNED:
        raise UsageError(f"{text} stands for {count:,} students, at most {_MOST_SCANNED:,} are scanned: name fewer")
    sizes: dict[str, int] = {}
    for combination in itertools.product(*choices):
        name = ":".join(["student", *combination])
        settings = typed_options(parse_options(combination, name), OPTIONS, "student")
        sizes[name] = parameters(functools.partial(student, **settings), classes, input_shape)
    kept = sorted((name for name in sizes if not most or sizes[name] <= int(most)), key=sizes.__getitem__)
    if not kept:
        smallest = min(sizes, key=sizes.__getitem__)
        raise UsageError(f"{text}: no student is that small; the smallest, {smallest}, has {sizes[smallest]:,} "
                         f"parameters on these images: raise under, or scan smaller ones")  # fmt: skip
    return tuple(kept)
