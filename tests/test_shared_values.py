"""The values that weights share: how they are trained, the papers' formulas, and vectors."""

import math

import pytest
import torch
from torch import nn

from bench.artifact import save, ship
from bench.runtimes.precision import stored_half
from methods import METHODS
from methods.graph import trace
from methods.layers import constrained_tensors, constraints, original, weights
from methods.layers.codebooks import Codebook, SharedValues
from methods.layers.halves import Halve
from methods.layers.signed import BinaryWeights, Signs, TernaryWeights
from methods.sharing import Binary, Cluster, Ternary
from tests.drawing import drawn
from tests.quantization_example import Plain, Residual, network, task
from tests.sharing_example import SHARING, compressed, idle, read_back

# The values that are trained


def test_the_gradient_of_a_value_is_the_sum_of_its_members_gradients_over_the_root_of_their_number():
    codes = torch.tensor([[1, 2, 0, 2], [2, 3, 1, 2]], dtype=torch.uint8)
    shared = SharedValues(torch.tensor([0.5, -1.0, 2.0]), codes)
    gradient = drawn(2, 4)
    (shared(codes) * gradient).sum().backward()
    for value in range(3):
        members = codes == value + 1
        expected = gradient[members].sum() / members.sum().sqrt()
        assert shared.scaled.grad[value] == pytest.approx(expected.item())


def test_a_step_is_that_of_the_weights_projected_on_weights_that_share_values():
    codes = torch.tensor([1, 1, 1, 2, 2, 0], dtype=torch.uint8)
    shared, gradient = SharedValues(torch.tensor([1.0, 3.0]), codes), drawn(6)
    (shared(codes) * gradient).sum().backward()
    torch.optim.SGD(shared.parameters(), lr=0.1).step()
    free = torch.tensor([1.0, 1, 1, 3, 3, 0]) - 0.1 * gradient
    assert torch.allclose(shared.centroids(), torch.stack([free[:3].mean(), free[3:5].mean()]))
    assert shared(codes)[-1] == 0


def test_training_moves_values_and_no_code():
    rounded = Cluster(bits=2).compress(network(Plain), task(idle))
    trained = compressed(Cluster(bits=2))
    for (_, one, name), (_, other, _) in zip(weights(rounded), weights(trained), strict=True):
        assert torch.equal(original(one, name), original(other, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))


def test_values_far_from_what_float16_holds_stay_float32():
    for value, dtype in ((1.0, torch.float16), (7e4, torch.float32), (0.0, torch.float16)):
        assert Codebook.of(torch.tensor([0.5, value])).centroids.dtype == dtype
        assert Signs.of(torch.tensor([0.5, value])).scale.dtype == dtype
    assert Codebook.of(torch.tensor([1e-6, -2e-6])).centroids.dtype == torch.float32
    model = network(Plain)
    with torch.no_grad():
        model.hidden.weight.view(-1)[0] = 1e5
        model.hidden.bias[0] = 1e5
    shipped = ship(Cluster().compress(model, task(idle)))
    assert shipped.hidden.weight.max() == 1e5
    assert shipped.hidden.bias.max() == 1e5
    assert shipped.first.bias.dtype == torch.float32
    assert original(shipped.first, "bias").dtype == torch.float16


# The papers' formulas, literally


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (7, 5), (1, 1), (6, 1, 2, 5)])
def test_ternary_weights_are_those_of_the_paper(shape):
    weight = drawn(*shape)
    n = weight.numel()
    limit = 0.7 / n * sum(abs(w) for w in weight.flatten().tolist())  # arXiv 1605.04711, equation 6
    beyond = [abs(w) for w in weight.flatten().tolist() if abs(w) > limit]
    scale = sum(beyond) / max(1, len(beyond))  # equation 5
    expected = [scale if w > limit else -scale if w < -limit else 0.0 for w in weight.flatten().tolist()]
    assert torch.allclose(TernaryWeights(0.7, False)(weight).flatten(), torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (7, 5), (1, 1), (6, 1, 2, 5)])
def test_binary_weights_are_those_of_the_paper(shape):
    weight = drawn(*shape)
    for row, found in zip(weight, BinaryWeights()(weight), strict=True):
        scale = sum(abs(w) for w in row.flatten().tolist()) / row.numel()  # arXiv 1603.05279, equation 6
        expected = [math.copysign(scale, w) for w in row.flatten().tolist()]
        assert torch.allclose(found.flatten(), torch.tensor(expected))


@pytest.mark.parametrize(
    "constraint", [TernaryWeights(0.7, False), BinaryWeights()], ids=lambda one: type(one).__name__
)
def test_gradients_pass_straight_through(constraint):
    weight, gradient = drawn(4, 6).requires_grad_(), drawn(4, 6, seed=1)
    (constraint(weight) * gradient).sum().backward()
    assert torch.equal(weight.grad, gradient)


def test_trained_scales_take_the_mean_of_their_weights_gradients():
    weight, gradient = drawn(4, 6).requires_grad_(), drawn(4, 6, seed=1)
    ternary = TernaryWeights.of(weight, 0.7, trained=True)
    values = ternary(weight)
    (values * gradient).sum().backward()
    assert ternary.scales.grad[0] == pytest.approx(gradient[values > 0].mean().item())
    assert ternary.scales.grad[1] == pytest.approx(-gradient[values < 0].mean().item())
    assert torch.equal(weight.grad, gradient)


def test_trained_scales_begin_at_the_mean_of_each_side_and_move(tmp_path):
    weight = drawn(30, 6) + 0.3
    ternary = TernaryWeights.of(weight, 0.7, trained=True)
    values = ternary(weight).detach()
    assert values.max() == pytest.approx(weight[values > 0].mean().item())
    assert values.min() == pytest.approx(weight[values < 0].mean().item())
    read = read_back(compressed(Ternary(scales="trained")), tmp_path)
    (reader,) = constraints(read.hidden, "weight")
    assert reader.centroids[0] != -reader.centroids[1]


@pytest.mark.parametrize("shape", [(1, 1), (3, 4)])
@pytest.mark.parametrize("value", [0.0, 2.0, -2.0])
@pytest.mark.parametrize("make", [
    lambda w: TernaryWeights(0.7, False), lambda w: TernaryWeights.of(w, 0.7, trained=True), lambda w: BinaryWeights(),
])  # fmt: skip
def test_constants_are_kept_exactly(make, shape, value):
    weight = torch.full(shape, value)
    constraint = make(weight)
    assert torch.equal(constraint(weight), weight)
    stored, reader = constraint.shipped(weight)
    assert torch.equal(reader(stored), weight)


@pytest.mark.parametrize("make", [
    lambda w: TernaryWeights(0.7, False), lambda w: TernaryWeights.of(w, 0.7, trained=True), lambda w: BinaryWeights(),
])  # fmt: skip
def test_what_is_shipped_reads_as_what_is_computed_to_float16(make):
    weight = drawn(5, 3, 2)
    constraint = make(weight)
    stored, reader = constraint.shipped(weight)
    assert stored.dtype == torch.uint8
    assert torch.allclose(reader(stored), constraint(weight), rtol=2**-11)


def test_a_ternary_mean_does_not_count_what_is_pruned():
    weight = drawn(40, 5)
    keep = weight.abs() > 1
    assert torch.allclose(
        TernaryWeights(0.7, False)(weight * keep)[keep], TernaryWeights(0.7, False)(weight[keep]), atol=1e-6
    )


def test_batch_norms_fold_into_signs_and_stay_beside_values_of_a_tensor(tmp_path):
    binary, cluster = (read_back(compressed(one, Residual), tmp_path) for one in (Binary(), Cluster()))
    assert not hasattr(binary, "norm")
    assert type(cluster.norm).__name__ == "ParametrizedChannelAffine"


# Vectors


def vector_bytes(model):
    return sum(one.numel() * one.element_size() for one in model.parameters() if one.ndim == 1)


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat, self.hidden, self.head = nn.Flatten(), nn.Linear(126, 300), nn.Linear(300, 5)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(self.flat(x))))


@pytest.mark.parametrize("name", SHARING)
def test_vectors_take_fewer_bytes_as_asked_for(name, tmp_path):
    sizes = {}
    for vectors in ("float32", "float16", "shared"):
        model = METHODS[name](vectors=vectors).compress(trace(Wide()), task(idle))
        sizes[vectors] = (
            vector_bytes(ship(model)),
            (save(ship(model), tmp_path / "x", {}), (tmp_path / "x").stat())[1],
        )
        assert torch.allclose(ship(model).head.bias, model.head.bias)
    assert sizes["float32"][0] == 2 * sizes["float16"][0] == 4 * 305
    assert sizes["shared"][0] == 300 + 2 * 5
    assert sizes["shared"][1].st_size < sizes["float16"][1].st_size < sizes["float32"][1].st_size


def test_shared_vectors_are_near_and_small_ones_are_left_in_float16():
    torch.manual_seed(0)
    before = trace(Wide())
    model = Cluster(vectors="shared").compress(before, task(idle))
    assert len(model.hidden.bias.unique()) <= 32
    assert (model.hidden.bias - before.hidden.bias).abs().max() < 0.1 * before.hidden.bias.abs().max()
    assert isinstance(constraints(model.head, "bias")[0], Halve)


def test_sixteen_bit_biases_do_not_make_a_network_compute_in_sixteen_bits():
    assert stored_half(ship(compressed(Cluster()))) is None
    assert stored_half(ship(compressed(METHODS["half"]()))) is torch.bfloat16


@pytest.mark.parametrize("layers", ["conv", "linear"])
def test_layers_keeps_to_one_family(layers):
    for method in (Cluster(layers=layers), Ternary(layers=layers), Binary(layers=layers)):
        model = compressed(method, Residual)
        touched = {type(layer).__name__ for layer in model.modules() if list(constrained_tensors(layer))}
        assert touched == {"ParametrizedConv2d" if layers == "conv" else "ParametrizedLinear"}
