"""MACs against counts made by hand, figures known from the literature, and torch's own flop counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.nets import build
from bench.artifact import ship
from bench.measure.macs import Macs, count_macs, macs_of
from bench.measure.nonzeros import weight_bytes
from methods.graph import trace
from methods.layers import GroupQuantizer, Mask, SpectralConv2d, SpectralLinear, WeightQuantizer, constrain


def counted(*layers: nn.Module, shape: tuple[int, ...] = (3, 9, 7)) -> int:
    return macs_of(trace(nn.Sequential(*layers)), shape)


@pytest.mark.parametrize(
    ("layer", "by_hand"),
    [
        (nn.Conv2d(4, 6, 3), 6 * 7 * 5 * 4 * 9),
        (nn.Conv2d(4, 6, 3, bias=False), 6 * 7 * 5 * 4 * 9),
        (nn.Conv2d(4, 6, (1, 3), padding=(0, 1)), 6 * 9 * 7 * 4 * 3),
        (nn.Conv2d(4, 6, 3, stride=2), 6 * 4 * 3 * 4 * 9),
        (nn.Conv2d(4, 6, 3, dilation=2), 6 * 5 * 3 * 4 * 9),
        (nn.Conv2d(4, 6, 3, groups=2), 6 * 7 * 5 * 2 * 9),
        (nn.Conv2d(4, 4, 3, groups=4, padding=1), 4 * 9 * 7 * 9),
        (nn.ConvTranspose2d(4, 6, 3, stride=2), 9 * 7 * 4 * 6 * 9),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), 9 * 7 * 4 * 3 * 9),
        (nn.Linear(7, 5), 4 * 9 * 7 * 5),  # on the last axis: leading ones multiply
        (nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout()), 0),
    ],
    ids=str,
)
def test_layers_cost_what_a_hand_count_says(layer: nn.Module, by_hand: int) -> None:
    assert counted(layer, shape=(4, 9, 7)) == by_hand


def test_a_layer_called_twice_counts_twice() -> None:
    shared = nn.Conv2d(3, 3, 1)
    assert counted(shared, nn.ReLU(), shared) == 2 * 3 * 9 * 7 * 3


def test_conv1d_and_unusual_leading_axes() -> None:
    assert counted(nn.Flatten(2), nn.Conv1d(3, 5, 4), shape=(3, 9, 7)) == 5 * 60 * 3 * 4


class Products(nn.Module):
    """One product of each kind on x [1, 2, 3, 4]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(5, 4))
        self.kernel = nn.Parameter(torch.ones(6, 1, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(2, 3)  # [1, 2, 4, 3]
        table: dict[str, Any] = {
            "torch.matmul": lambda: torch.matmul(x, y),
            "operator": lambda: x @ y,
            "method": lambda: x.matmul(y),
            "bmm": lambda: torch.bmm(x.flatten(0, 1), y.flatten(0, 1)),
            "matrix x vector": lambda: torch.matmul(x, self.weight[0]),
            "vector x vector": lambda: torch.matmul(self.weight[0], self.weight[1]),
            "broadcast": lambda: torch.matmul(x, self.weight.transpose(0, 1)),
            "linear": lambda: F.linear(x, self.weight),
            "conv2d": lambda: F.conv2d(x, self.kernel, groups=2),
            "einsum": lambda: torch.einsum("bhij,bhkj->bhik", x, x),
            "einsum ...": lambda: torch.einsum("...ij,kj->...ik", x, self.weight),
            "einsum implicit": lambda: torch.einsum("bhij,kj", x, self.weight),
            "attention": lambda: F.scaled_dot_product_attention(x, x[:, :, :2], x[:, :, :2]),
        }
        return table[self.kind]()


@pytest.mark.parametrize(
    ("kind", "by_hand"),
    [
        ("torch.matmul", 2 * 3 * 4 * 3),
        ("operator", 2 * 3 * 4 * 3),
        ("method", 2 * 3 * 4 * 3),
        ("bmm", 2 * 3 * 4 * 3),
        ("matrix x vector", 2 * 3 * 4),
        ("vector x vector", 4),
        ("broadcast", 2 * 3 * 4 * 5),
        ("linear", 2 * 3 * 4 * 5),
        ("conv2d", 6 * 3 * 2 * 3),
        ("einsum", 2 * 3 * 4 * 3),
        ("einsum ...", 2 * 3 * 4 * 5),
        ("einsum implicit", 2 * 3 * 4 * 5),
        ("attention", 2 * 3 * 2 * (4 + 4)),
    ],
)
def test_products_cost_what_a_hand_count_says(kind: str, by_hand: int) -> None:
    assert macs_of(trace(Products(kind)), (2, 3, 4)) == by_hand


class SelfAttention(nn.Module):
    def __init__(self, batch_first: bool, zero: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, add_zero_attn=zero)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2)  # [1, tokens, 8]
        if not self.attention.batch_first:
            x = x.transpose(0, 1)
        return self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("zero", [True, False])
def test_multihead_attention(batch_first: bool, zero: bool) -> None:
    tokens, width = 15, 8
    by_hand = 4 * tokens * width * width + 2 * tokens * (tokens + zero) * width
    assert macs_of(trace(SelfAttention(batch_first, zero)), (3, 5, width)) == by_hand


@pytest.mark.parametrize(
    ("spec", "classes", "shape", "millions"),
    [
        ("resnet18", 1000, (3, 224, 224), 1814.07),  # 1.81 G: He et al. 2016, table 1 ("1.8 x 10^9")
        ("resnet18", 10, (3, 32, 32), 555.42),  # with the small-image stem
        ("lenet300", 10, (1, 28, 28), 0.2662),  # 784 x 300 + 300 x 100 + 100 x 10
        ("lenet_caffe", 10, (1, 28, 28), 2.293),  # 288 K + 1,600 K + 400 K + 5 K
        ("mobilenet_v2", 1000, (3, 224, 224), 300.77),  # "300 M": Sandler et al. 2018, table 4
    ],
)
def test_known_networks(spec: str, classes: int, shape: tuple[int, ...], millions: float) -> None:
    network = trace(build(spec, classes=classes, input_shape=shape, seed=0))
    assert macs_of(network, shape) / 1e6 == pytest.approx(millions, abs=0.005 * max(1, millions / 100))


@pytest.mark.parametrize("spec", ["resnet18", "mobilenet_v2", "densenet121", "shufflenet_v2_x0_5"])
def test_torch_counts_the_same(spec: str) -> None:
    network = trace(build(spec, classes=10, input_shape=(3, 64, 64), seed=0))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 64, 64))
    assert macs_of(network, (3, 64, 64)) == counter.get_total_flops() // 2


def test_zeros_are_not_subtracted_and_constraints_cost_nothing() -> None:
    network = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 7 * 5, 4)))
    before = macs_of(network, (3, 9, 7))
    for path in ("0", "2"):
        layer = network.get_submodule(path)
        constrain(layer, "weight", Mask.of(torch.zeros_like(layer.weight, dtype=torch.bool)))
    assert macs_of(network, (3, 9, 7)) == before == 8 * 35 * 27 + 280 * 4
    assert count_macs(network, (3, 9, 7)) == Macs(before, 0)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.Linear(7, 5), nn.ConvTranspose2d(4, 6, 3)]
)
def test_products_by_a_weight_that_is_zero_are_told_apart(layer: nn.Module) -> None:
    network = trace(nn.Sequential(layer))
    total = macs_of(network, (4, 9, 7))
    assert count_macs(network, (4, 9, 7)) == Macs(total, total)
    with torch.no_grad():
        layer.weight.flatten()[1:] = 0  # type: ignore[union-attr, index, operator]
    left = count_macs(network, (4, 9, 7))
    assert left == Macs(total, total // layer.weight.numel())  # type: ignore[union-attr, operator]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.0, 2.0, 0.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight) @ torch.ones(1, 3)


def test_weights_of_functions_count_and_activations_that_are_zero_do_not() -> None:
    assert count_macs(trace(Functional()), (2, 3, 4)) == Macs(2 * 3 * 4 + 2 * 3 * 3, 2 * 3 * 2 + 2 * 3 * 3)


@pytest.mark.parametrize("route", ["factored", "materialised", "fast"])
def test_coefficients_that_are_zero_save_nothing_of_the_transforms(route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = SpectralLinear(16, 12, 5, 4)
    monkeypatch.setattr(SpectralLinear, "path", lambda self, shape=(): route)
    with torch.no_grad():
        layer.coefficients.fill_(1.0)
        layer.coefficients[0] = 0  # 5 of 20
    counted = count_macs(trace(nn.Sequential(layer)), (7, 16))
    assert counted.total - counted.nonzero == (0 if route == "materialised" else 7 * 5)


def test_coefficients_of_a_convolution_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = SpectralConv2d(8, 6, 3, 2, 2, stride=2, groups=2)
    monkeypatch.setattr(SpectralConv2d, "path", lambda self, shape: "factored")
    with torch.no_grad():
        layer.coefficients.fill_(1.0)
        layer.coefficients[:, 0, 0, 0] = 0  # 4 of 72
    counted = count_macs(trace(nn.Sequential(layer)), (8, 9, 7))
    assert counted.total - counted.nonzero == 4 * 4 * 3


@pytest.mark.parametrize(("bits", "width"), [(8, 8), (7, 7), (4, 4), (2, 2)])
def test_weights_are_as_wide_as_their_codes(bits: int, width: int) -> None:
    network = trace(nn.Sequential(nn.Linear(32, 8, bias=False)))
    constrain(network.get_submodule("0"), "weight", WeightQuantizer(bits))
    assert weight_bytes(ship(network)) == 32 * 8 * width / 8


def test_codes_without_a_sign_have_no_bit_for_it() -> None:
    network = trace(nn.Sequential(nn.Linear(32, 8, bias=False)))
    constrain(network.get_submodule("0"), "weight", GroupQuantizer(bits=4, group=16))
    assert weight_bytes(ship(network)) == 32 * 8 / 2


def test_floats_are_as_wide_as_their_type_and_zeros_are_not_subtracted() -> None:
    layer = nn.Linear(10, 6)
    nn.init.zeros_(layer.weight)
    assert weight_bytes(layer) == 4 * 60  # its biases are no weights
    assert weight_bytes(layer.half()) == 2 * 60


def test_counting_leaves_the_network_alone() -> None:
    network = trace(nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    macs_of(network, (3, 5, 5))
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
