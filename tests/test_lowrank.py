"""Low-rank layers: nearest products, fitted products, and the layers that they become."""

import numpy as np
import pytest
import torch
from torch import nn

from methods.base import Refused, Task
from methods.graph import trace
from methods.lowrank import LowRank, factorised, rank

CONVOLUTIONS = [
    {"in_channels": 6, "out_channels": 9, "kernel_size": 3},
    {"in_channels": 7, "out_channels": 5, "kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2), "bias": False},
    {"in_channels": 6, "out_channels": 9, "kernel_size": (1, 3), "padding": "same", "dilation": (1, 2), "groups": 3},
    {"in_channels": 5, "out_channels": 5, "kernel_size": 3, "padding": (2, 1), "padding_mode": "reflect", "stride": 2},
]

UNTRAINED = Task(lambda model, lr_scale=1.0: model.eval(), lambda count: iter(()))


def product(new: nn.Module, groups: int = 1) -> torch.Tensor:
    """The weight that two factors stand for, each group a matrix below the last."""
    first, second = new.children()
    pairs = zip(first.weight.flatten(1).chunk(groups), second.weight.flatten(1).chunk(groups), strict=True)
    return torch.cat([b @ a for a, b in pairs])


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_a_convolution_becomes_the_nearest_product(options):
    layer = nn.Conv2d(**options)
    groups = layer.groups
    new = factorised(layer, 0.5)
    for weight, found in zip(layer.weight.flatten(1).chunk(groups), product(new, groups).chunk(groups), strict=True):
        u, s, v = np.linalg.svd(weight.detach().double().numpy(), full_matrices=False)
        kept = rank(*weight.shape, 0.5)
        nearest = torch.from_numpy((u[:, :kept] * s[:kept]) @ v[:kept]).float()
        torch.testing.assert_close(found, nearest, rtol=0, atol=1e-5)
    x = torch.randn(2, options["in_channels"], 9, 8)
    same = nn.Conv2d(**options)
    with torch.no_grad():
        same.weight.copy_(product(new, groups).reshape(same.weight.shape))
        if same.bias is not None:
            same.bias.copy_(layer.bias)
    torch.testing.assert_close(new(x), same(x))


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_fitting_never_fits_worse_than_the_svd_on_what_it_saw(options):
    layer, x = nn.Conv2d(**options), torch.randn(40, options["in_channels"], 9, 8)
    x[:, 0] *= 5  # one channel matters more than its weights say
    method = LowRank(keep=0.3)
    before, after = factorised(layer, 0.3), factorised(layer, 0.3)
    with torch.no_grad():
        y = layer(x)
        method.fit(after, x, y)
        assert (after(x) - y).square().mean() < (before(x) - y).square().mean()


def test_fitting_a_linear_layer_is_reduced_rank_regression(monkeypatch):
    """Against the textbook: project least squares on the leading right singular vectors of its fitted values."""
    monkeypatch.setattr("methods.reconstruction._RIDGE", 1e-12)
    layer = nn.Linear(12, 8, bias=False)
    x = torch.randn(4000, 12) * torch.linspace(0.2, 3, 12)
    method = LowRank(keep=0.4)
    new = factorised(layer, method.keep)
    with torch.no_grad():
        y = layer(x)
        method.fit(new, x, y)
    _, _, v = np.linalg.svd(y.detach().numpy(), full_matrices=False)
    kept = rank(8, 12, 0.4)
    expected = layer.weight.detach().T @ torch.from_numpy(v[:kept].T @ v[:kept])
    torch.testing.assert_close(product(new).T.detach(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("height", "width", "keep"), [(9, 54, 0.5), (64, 64, 0.2), (10, 84, 0.03), (3, 3, 0.01)])
def test_the_budget_is_kept_wherever_one_rank_fits_in_it(height, width, keep):
    found = rank(height, width, keep)
    assert found >= 1
    assert found == 1 or found * (height + width) <= keep * height * width
    assert (found + 1) * (height + width) > keep * height * width


class Shared(nn.Module):
    """A layer called twice, one that cannot shrink, and a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.depthwise, self.head = (
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.Linear(8, 4),
        )

    def forward(self, x):
        x = self.conv(x) + x
        x = self.conv(x).relu()
        return self.head(self.depthwise(x).mean((2, 3)))


def test_a_layer_called_twice_becomes_two_layers_called_twice():
    model = trace(Shared())
    out = LowRank(keep=0.5, calibration=0).compress(model, UNTRAINED)
    called = [node.target for node in out.graph.nodes if node.op == "call_module"]
    assert called == ["conv", "conv_up", "conv", "conv_up", "depthwise", "head", "head_up"]
    assert out.get_submodule("depthwise").weight.shape == (8, 1, 3, 3)


def test_a_network_with_nothing_to_factorise_is_refused():
    with pytest.raises(Refused, match="no layer of kind linear"):
        LowRank(layers="linear").compress(trace(nn.Sequential(nn.Conv2d(3, 4, 3))), UNTRAINED)
