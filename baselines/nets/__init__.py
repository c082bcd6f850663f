"""Reference networks: `build(spec, ...)` gives any of them, ready for the images at hand.

`NETS` are those written here; every classifier of torchvision goes by its own name, `timm:NAME` is one of timm's and
`path/to/file.py:function` a person's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from baselines.errors import UsageError, first_line, nearest
from baselines.nets import classic, external, residual, students, vision
from baselines.nets.spec import NetSpec, parse_net, typed_options
from baselines.nets.weights import load_weights


@dataclass(frozen=True)
class Net:
    """A line of the table: what the network is, how it is made, and which options it takes."""

    summary: str
    make: Callable[..., nn.Module]  # (classes, input_shape, **options)
    options: dict[str, type] = field(default_factory=dict)


NETS: dict[str, Net] = {
    "lenet": Net("LeNet-5, convolutions 6-16-120, linear 84; 62 K parameters at 3x32x32", classic.lenet),
    "lenet_caffe": Net("LeNet-5 of the pruning literature, 20-50-500; 431,080 parameters at 1x28x28",
                       classic.lenet_caffe),
    "lenet300": Net("LeNet-300-100; 266,610 parameters at 1x28x28", classic.lenet300),
    "mlp": Net("MLP 784-500x4-10 of the pruning literature; 1,149,010 parameters at 1x28x28", classic.mlp,
               {"width": int, "depth": int}),
    "conv6": Net("Conv-6 of the lottery ticket literature, 64-64-128-128-256-256; 2,262,602 parameters at 3x32x32",
                 classic.conv6, {"width": int}),
    "alexnet": Net("AlexNet for small images (torchvision's above 64 pixels)", classic.alexnet, {"width": int}),
    "resnet8": Net("ResNet-8 of MLPerf Tiny; 78 K parameters", residual.resnet8),
    "wrn": Net("wide ResNet, WRN-16-8 unless told; 10,961,370 parameters at 3x32x32", residual.wrn,
               {"depth": int, "width": int}),
    "student": Net("a student of any size; student:widths=32-64-96-128:kernel=3:hidden=0:dropout=0", students.student,
                   students.OPTIONS),
    **{name: Net(one.summary, one, {"dropout": float}) for name, one in students.STUDENTS.items()},
}  # fmt: skip


def build(
    spec: str,
    *,
    classes: int,
    input_shape: tuple[int, int, int],
    seed: int,
    pretrained: bool = False,
    weights: Path | None = None,
) -> nn.Module:
    """The network that `spec` names, in eval mode, mapping [n, c, h, w] to logits [n, classes].

    spec: a name of `NETS` or torchvision with options (`alexnet:width=1024`), `timm:NAME`, `file.py:function`.
    input_shape: (c, h, w) of one image.
    seed: of the initialisation, whatever the global generator holds.
    weights: a state dict to load.

    Raises:
        UsageError: no such network or option, an image size it cannot take, weights that do not fit.
    """
    if classes < 2:
        raise UsageError(f"a classifier needs at least 2 classes, got {classes}: check the data set's folders")
    if pretrained and weights:
        raise UsageError("--pretrained and --weights exclude each other: pass one of them")
    parsed = parse_net(spec)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = _make(parsed, classes, tuple(input_shape), pretrained).eval()  # type: ignore[arg-type]
        _check_output(model, spec, classes, input_shape)
    if weights:
        load_weights(model, Path(weights))
    return model


def _make(spec: NetSpec, classes: int, input_shape: tuple[int, int, int], pretrained: bool) -> nn.Module:
    large_alexnet = spec.name == "alexnet" and not spec.options and max(input_shape[1:]) > vision.SMALL
    ours = spec.name in NETS and not large_alexnet
    if pretrained and (spec.function or ours):
        raise UsageError(f"{spec.function or spec.name} has no pretrained weights at this image size: pass --weights")
    if spec.function or spec.name.endswith(".py"):
        return external.own_net(spec, classes, input_shape)
    if ours:
        net = NETS[spec.name]
        return net.make(classes, input_shape, **typed_options(spec.options, net.options, spec.name))
    known = vision.names()
    if not spec.name.startswith("timm:") and spec.name not in known:
        raise UsageError(f"unknown network {spec.name!r}: {_suggestion(spec.name, known)}")
    typed_options(spec.options, {}, spec.name)
    if spec.name.startswith("timm:"):
        return external.timm_net(spec.name.removeprefix("timm:"), classes, input_shape, pretrained)
    return vision.torchvision_net(spec.name, classes, input_shape, pretrained)


def _suggestion(name: str, of_torchvision: list[str]) -> str:
    if name.rstrip("0123456789") == "student":
        return f"the named students are {', '.join(students.STUDENTS)}"
    found = nearest(name, [*NETS, *of_torchvision])
    if found.startswith("did you mean"):
        return found
    return f"known: {', '.join(NETS)}, any torchvision classifier, timm:NAME, path/to/file.py:function"


def _check_output(model: nn.Module, spec: str, classes: int, input_shape: tuple[int, int, int]) -> None:
    """Runs two blank images through, so that a network that does not fit is refused before any training."""
    size = "x".join(map(str, input_shape))
    try:
        with torch.no_grad():
            logits = model(torch.zeros(2, *input_shape))  # [2, c, h, w]
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = first_line(error)
        raise UsageError(
            f"{spec} cannot take images of {size} ({reason}): add :size=32 or so to --dataset, or take another --net"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (2, classes):
        raise UsageError(f"{spec} maps 2 images of {size} to {shape}, expected (2, {classes}): "
                         f"return logits, one for each class")  # fmt: skip


__all__ = ["NETS", "Net", "build"]
