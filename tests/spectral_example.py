"""Dense layers of every form, and the spectral ones that take their places."""

import pytest
import torch
from torch import nn

from methods.allocation import corner
from methods.layers import SpectralConv2d, SpectralLinear
from tests.drawing import drawn, filled

CONVOLUTIONS = [
    {"in_channels": 6, "out_channels": 9, "kernel_size": 3},
    {"in_channels": 7, "out_channels": 5, "kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2), "bias": False},
    {"in_channels": 6, "out_channels": 9, "kernel_size": (2, 3), "padding": "same", "dilation": (1, 2), "groups": 3},
    {"in_channels": 8, "out_channels": 4, "kernel_size": (1, 5), "padding": "valid", "groups": 2},
    {"in_channels": 5, "out_channels": 5, "kernel_size": 3, "padding": (2, 1), "padding_mode": "reflect", "stride": 2},
    {"in_channels": 4, "out_channels": 6, "kernel_size": (4, 3), "padding": "same", "padding_mode": "circular"},
    {"in_channels": 4, "out_channels": 6, "kernel_size": 2, "padding": 1, "padding_mode": "replicate", "groups": 2},
    {"in_channels": 3, "out_channels": 64, "kernel_size": 1, "stride": 2, "bias": False},
]
LINEARS = [{"in_features": 13, "out_features": 7}, {"in_features": 1, "out_features": 9, "bias": False}]


def convolution(config: dict) -> nn.Conv2d:
    return filled(nn.Conv2d(**config))


def spectral(layer: nn.Module, keep: float) -> nn.Module:
    if isinstance(layer, nn.Linear):
        rows, columns = corner(layer.out_features, layer.in_features, keep)
        return SpectralLinear.of(layer, columns, rows).eval()
    rows, columns = corner(layer.out_channels // layer.groups, layer.in_channels // layer.groups, keep)
    return SpectralConv2d.of(layer, columns, rows).eval()


def take(layer: nn.Module, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(layer), "path", lambda self, shape=(): route)


def trained(layer):
    layer.train()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    with torch.enable_grad():
        layer(drawn(2, layer.in_channels, 6, 6)).square().sum().backward()
    optimiser.step()
    layer.eval()
