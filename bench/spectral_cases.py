"""What `bench.spectral_speed` compares: layers and networks, each dense and spectral, with the speed-up asked for."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from baselines import nets
from bench.runtimes import RUNTIMES
from methods.graph import trace
from methods.layers import SpectralConv2d, SpectralLinear, products

Spectral = SpectralLinear | SpectralConv2d
Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """Two callables that do the same work, and how much quicker the second is to be."""

    name: str
    kept: str
    batch: int
    setting: str  # layout or runtime, and path
    dense: Run
    ours: Run
    goal: float | None
    limit: float | None = None  # dense / spectral multiply-accumulates, those of fast transforms left out
    burst: int = 1  # calls that one sample is the mean of
    error: float | None = None  # largest difference of outputs, in standard deviations of the dense one's
    other: Run | None = None  # the dense layer by oneDNN's product, or with a packed weight


def linear(size: int, part: int, batch: int, goal: float | None) -> Case:
    """A square layer with 1/part of each axis kept."""
    layer = filled(SpectralLinear(size, size, size // part, size // part))
    dense = as_dense(layer)
    x = drawn(batch, size)

    def onednn() -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, dense.weight, dense.bias, "none", [], "")  # type: ignore[no-any-return]

    return Case(
        f"Linear {size}x{size}", f"1/{part} of each axis", batch, layer.path((batch, size)), lambda: dense(x),
        lambda: layer(x), goal, limit=part**2, burst=max(1, 32 // batch), error=difference(dense, layer, x),
        other=onednn,
    )  # fmt: skip


def convolution(channels: int, side: int, batch: int, layout: str, goal: float | None) -> Case:
    """A 3x3 convolution with half of both channel axes kept."""
    half = channels // 2
    form = torch.channels_last if layout == "channels last" else torch.contiguous_format
    layer = filled(SpectralConv2d(channels, channels, 3, half, half, padding=1))
    layer.to(memory_format=form)  # type: ignore[call-overload]
    dense = as_dense(layer)
    dense.to(memory_format=form)  # type: ignore[call-overload]
    x = drawn(batch, channels, side, side).to(memory_format=form)
    assert isinstance(layer, SpectralConv2d)
    macs = layer.path_macs((batch, channels, side, side))
    path = layer.path((batch, channels, side, side))
    shape = ((1, 1), (1, 1), (1, 1))  # stride, padding, dilation
    packed = products.pack(dense.weight.detach(), x.shape, shape, 1)  # type: ignore[arg-type]
    return Case(
        f"Conv2d {channels}->{channels}, 3x3, {side}x{side}", "1/2 of both channel axes", batch, f"{layout}, {path}",
        lambda: dense(x), lambda: layer(x), goal, limit=macs["materialised"] / macs[path], burst=max(1, 8 // batch),
        error=difference(dense, layer, x), other=lambda: products.convolve_packed(x, packed, shape, 1, dense.bias),
    )  # fmt: skip


def resnet(runtime: str, batches: list[int], goal: float) -> list[Case]:
    """resnet18 with half of both channel axes of all its convolutions kept, in one runtime."""
    dense = nets.build("resnet18", classes=10, input_shape=(3, 32, 32), seed=0)
    pair = [dense, replaced(dense, 2)]
    sessions = []
    for model in pair:
        graph = trace(model)
        with tempfile.TemporaryDirectory() as folder:
            deployed = RUNTIMES[runtime].prepare(graph, (3, 32, 32), Path(folder))
            sessions.append(RUNTIMES[runtime].load(graph, deployed, threads=1, device="cpu"))
    found = []
    for batch in batches:
        images = np.random.default_rng(0).standard_normal((batch, 3, 32, 32)).astype(np.float32)
        outputs = [session.run(images) for session in sessions]
        assert outputs[0].shape == outputs[1].shape
        found.append(
            Case(
                "resnet18, 32x32",
                "1/2 of both channel axes",
                batch,
                runtime,
                partial(sessions[0].run, images),
                partial(sessions[1].run, images),
                goal,
            )
        )
    return found


def alexnet(batches: list[int], goal: float) -> tuple[list[Case], dict[str, int]]:
    """The linear part of AlexNet with 1/4 of each axis kept; and bytes of weights and of all it stores, both forms."""
    dense = nets.build("alexnet", classes=10, input_shape=(3, 32, 32), seed=0).classifier
    assert isinstance(dense, nn.Module)
    ours = replaced(dense, 4)
    found = []
    for batch in batches:
        x = drawn(batch, 256, 2, 2)
        found.append(
            Case(
                "AlexNet, linear part",
                "1/4 of each axis",
                batch,
                "eager",
                partial(dense, x),
                partial(ours, x),
                goal,
                burst=max(1, 32 // batch),
            )
        )
    sizes = {}
    for name, model in (("dense", dense), ("spectral", ours)):
        tensors = model.state_dict()
        sizes[f"{name} weights"] = sum(one.nbytes for key, one in tensors.items() if not key.endswith("bias"))
        sizes[f"{name} all"] = sum(one.nbytes for one in tensors.values())
    return found, sizes


def step(case_of: Callable[[], tuple[nn.Module, Spectral, Tensor]], name: str, kept: str) -> Case:
    """Forward, backward and an SGD step of a layer and its dense form, the gradient of the input included."""
    dense, layer, x = case_of()
    runs = []
    for module in (dense.train(), layer.train()):
        optimiser = torch.optim.SGD(module.parameters(), lr=1e-6)

        def run(module: nn.Module = module, optimiser: torch.optim.Optimizer = optimiser) -> None:
            with torch.inference_mode(False), torch.enable_grad():
                argument = x.detach().requires_grad_()
                module(argument).sum().backward()
                optimiser.step()
                optimiser.zero_grad()

        runs.append(run)
    path = layer.path(tuple(x.shape))
    return Case(name, kept, len(x), path, runs[0], runs[1], 1.0, burst=max(1, 4 // len(x)))


def linear_pair(size: int, part: int, batch: int) -> tuple[nn.Module, Spectral, Tensor]:
    layer = filled(SpectralLinear(size, size, size // part, size // part))
    return as_dense(layer), layer, drawn(batch, size)


def convolution_pair(channels: int, side: int, batch: int) -> tuple[nn.Module, Spectral, Tensor]:
    layer = filled(SpectralConv2d(channels, channels, 3, channels // 4, channels // 4, padding=1))
    return as_dense(layer), layer, drawn(batch, channels, side, side)


def replaced(model: nn.Module, part: int) -> nn.Module:
    """A copy with 1/part of each axis kept of all its convolutions, or where it has none of all its linear layers."""
    model = copy.deepcopy(model)
    kind = nn.Conv2d if any(isinstance(one, nn.Conv2d) for one in model.modules()) else nn.Linear
    for path, layer in list(model.named_modules()):
        if not isinstance(layer, kind):
            continue
        new: nn.Module
        if isinstance(layer, nn.Conv2d):
            new = SpectralConv2d.of(layer, max(1, layer.in_channels // part), max(1, layer.out_channels // part))
        else:
            assert isinstance(layer, nn.Linear)
            new = SpectralLinear.of(layer, max(1, layer.in_features // part), max(1, layer.out_features // part))
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, new)
    return model.eval()


def filled(layer: Spectral) -> Spectral:
    """`layer` with random coefficients that leave the size of its input about as it is."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(drawn(*parameter.shape) / max(1, parameter[0].numel()) ** 0.5)
    return layer.eval()


def as_dense(layer: Spectral) -> nn.Linear | nn.Conv2d:
    """The dense layer of the same weight, in the layout that torch gives it."""
    dense: nn.Linear | nn.Conv2d
    if isinstance(layer, SpectralLinear):
        dense = nn.Linear(layer.in_features, layer.out_features)
    else:
        dense = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)  # type: ignore[arg-type]
    weight = layer.train().weight()  # in training none is kept
    with torch.no_grad():
        dense.weight.copy_(weight)
        if dense.bias is not None and layer.bias is not None:
            dense.bias.copy_(layer.bias)
    layer.eval()
    return dense.eval()


@torch.no_grad()
def difference(dense: nn.Module, layer: nn.Module, x: Tensor) -> float:
    y = dense(x)
    return float((layer(x) - y).abs().max() / y.std())


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))
