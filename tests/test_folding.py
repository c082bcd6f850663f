"""Folded networks compute what the unfolded ones compute in eval mode, and folding keeps out of what it would break."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from methods.folding import fold_batch_norms
from methods.graph import replace_module, trace
from methods.layers import ChannelAffine, Mask, build, config_of, constrain, kind_of, original


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and statistics far from their initial values, small variances and negative scales included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(0.0, 2.0, generator=generator)
                module.running_var.uniform_(1e-3, 3.0, generator=generator)
                if module.affine:
                    module.weight.normal_(0.0, 1.0, generator=generator)
                    module.bias.normal_(0.0, 1.0, generator=generator)
    return model


def norms(model: GraphModule) -> int:
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())


def folded(model: nn.Module, image: Tensor) -> GraphModule:
    """The folded graph, which computes what it did and stays as it is when folded again."""
    graph = trace(randomise(model))
    expected = copy.deepcopy(graph)(image)
    result = fold_batch_norms(graph)
    assert result is graph
    torch.testing.assert_close(result(image), expected, rtol=1e-4, atol=1e-4)
    once = {name: value.clone() for name, value in result.state_dict().items()}
    assert fold_batch_norms(result).state_dict().keys() == once.keys()
    assert all(torch.equal(value, once[name]) for name, value in result.state_dict().items())
    return result


def test_folds_after_convolutions_and_linear_layers() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, groups=2), nn.BatchNorm2d(8, affine=False), nn.Flatten(),
        nn.Linear(8 * 3 * 2, 5), nn.BatchNorm1d(5, eps=0.1),
    )  # fmt: skip
    assert norms(folded(net, torch.randn(4, 3, 9, 7))) == 0


def test_folds_after_one_dimensional_convolution() -> None:
    assert norms(folded(nn.Sequential(nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5)), torch.randn(2, 3, 11))) == 0


class TwoReaders(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(x)))


class NormCalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(self.norm(self.first(x))))


class TiedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.norm(self.first(x)))


class NormBefore(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class LinearOverSequence(nn.Module):
    """The norm's channels are axis 1, not the linear layer's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


@pytest.mark.parametrize("net", [TwoReaders, CalledTwice, NormCalledTwice, TiedWeights, NormBefore])
def test_leaves_what_it_would_break(net: type[nn.Module]) -> None:
    assert norms(folded(net(), torch.randn(2, 3, 5, 5))) == 1


def test_leaves_norms_over_sequences_and_over_batches() -> None:
    assert norms(folded(LinearOverSequence(), torch.randn(2, 5, 4))) == 1
    no_statistics = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert norms(folded(no_statistics, torch.randn(2, 3, 5, 5))) == 1


def test_keeps_the_mask_and_its_zeros() -> None:
    graph = trace(randomise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))))
    layer = graph.get_submodule("0")
    keep = torch.rand(4, 3, 3, 3) < 0.3
    constrain(layer, "weight", Mask.of(keep))
    image = torch.randn(2, 3, 5, 5)
    expected = graph(image)
    fold_batch_norms(graph)
    assert norms(graph) == 0
    torch.testing.assert_close(graph(image), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(layer.weight == 0, ~keep)
    assert original(layer, "weight").requires_grad


class Halves(Mask):
    """Stands for a constraint whose values depend on the weight's scale."""

    def forward(self, tensor: Tensor) -> Tensor:
        return torch.round(tensor * 2) / 2


@pytest.mark.parametrize("tensor", ["weight", "bias"])
def test_leaves_weights_under_other_constraints(tensor: str) -> None:
    graph = trace(randomise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))))
    layer = graph.get_submodule("0")
    constrain(layer, tensor, Halves(list(getattr(layer, tensor).shape)))
    assert norms(fold_batch_norms(graph)) == 1


def test_leaves_layers_of_ours() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    replace_module(graph, "0", ChannelAffine(4))
    assert norms(fold_batch_norms(graph)) == 1


@pytest.mark.parametrize(("norm", "shape"), [(nn.BatchNorm1d, (3, 5)), (nn.BatchNorm1d, (3, 5, 7)),
                                             (nn.BatchNorm2d, (2, 5, 3, 4))])  # fmt: skip
@pytest.mark.parametrize("affine", [True, False])
def test_channel_affine_is_the_norm_in_eval_mode(norm: type[nn.Module], shape: tuple[int, ...], affine: bool) -> None:
    layer = randomise(nn.Sequential(norm(5, affine=affine))).eval()[0]
    x = torch.randn(shape)
    affine_layer = ChannelAffine.of(layer)
    torch.testing.assert_close(affine_layer(x), layer(x), rtol=1e-5, atol=1e-5)
    again = build(str(kind_of(affine_layer)), config_of(affine_layer))
    again.load_state_dict(affine_layer.state_dict())
    assert torch.equal(again(x), affine_layer(x))
    assert affine_layer.macs(shape, shape) == x.numel()
