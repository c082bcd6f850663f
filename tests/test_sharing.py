"""Laws of weights that share values: `cluster`, `ternary`, `binary`, and the constraints that they are made of."""

import copy
import math

import pytest
import torch
from torch import nn

import run_bench
from bench.artifact import load, save, ship
from bench.exporting import FORMATS
from bench.measure.nonzeros import weight_bytes
from bench.runtimes.precision import stored_half
from methods import METHODS
from methods.base import Effect, Pipeline, Refused, Task
from methods.graph import trace
from methods.layers import Mask, build_constraint, constrain, constrained_tensors, constraints, original, weights
from methods.layers.codebooks import Codebook, SharedValues, looked_up
from methods.layers.halves import Halve
from methods.layers.signed import BinaryWeights, Signs, TernaryWeights
from methods.lowrank import LowRank
from methods.pruning import Prune
from methods.quantization import PTQ
from methods.sharing import Binary, Cluster, Ternary
from methods.spectral import DCT
from tests.drawing import drawn
from tests.quantization_example import KINDS, Depthwise, Plain, Residual, images, network, task, train_a_little
from tests.test_measure import network as example
from tests.test_measure import opened, written

SHARING = ["cluster", "ternary", "binary"]


def compressed(method, kind=Plain, before=None):
    model = network(kind) if before is None else before.compress(network(kind), task(train_a_little))
    return method.compress(model, task(train_a_little))


def read_back(model, folder):
    save(ship(model), folder / "one.nnc", {})
    return load(folder / "one.nnc").model


def idle(model, **_):
    """A fine-tuning that does nothing."""
    return model.eval()


# The file


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("before", [None, DCT(), LowRank(), Prune(sparsity=0.6)], ids=repr)
def test_a_tensor_read_from_the_file_has_two_to_the_bits_values_at_most(bits, before, tmp_path):
    model = compressed(Cluster(bits=bits), before=before)
    read = read_back(model, tmp_path)
    for _, layer, name in weights(read):
        assert len(getattr(layer, name).unique()) <= 2**bits
        assert original(layer, name).dtype == torch.uint8
    with torch.no_grad():
        assert torch.equal(read(images(4)), ship(model)(images(4)))
        assert torch.allclose(read(images(4)), model(images(4)), atol=1e-5)


@pytest.mark.parametrize(("name", "values"), [("ternary", 3), ("binary", 2)])
def test_inner_layers_have_three_or_two_values_and_the_ends_eight_bits(name, values, tmp_path):
    read = read_back(compressed(METHODS[name]()), tmp_path)
    for layer in (read.twice, read.hidden):
        channels = [layer.weight] if name == "ternary" else layer.weight
        assert all(len(one.unique()) <= values for one in channels)
    for layer in (read.first, read.head):
        assert original(layer, "weight").dtype == torch.int8
        assert len(layer.weight.unique()) > values
    everywhere = read_back(compressed(METHODS[name](first_last_bits=0)), tmp_path)
    assert all(original(layer, one).dtype == torch.uint8 for _, layer, one in weights(everywhere))


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shipped_computes_the_same(name, kind):
    model = compressed(METHODS[name](), kind)
    with torch.no_grad():
        assert torch.allclose(ship(model)(images(4)), model(images(4)), atol=1e-5)


@pytest.mark.parametrize("method", [Cluster(), Cluster(rate=0.02), Cluster(bits=1), Ternary()], ids=repr)
def test_pruned_weights_stay_exactly_zero_and_are_counted_as_zeros(method, tmp_path):
    pruned = Prune(sparsity=0.7).compress(network(Residual), task(train_a_little))
    read = read_back(method.compress(pruned, task(train_a_little)), tmp_path)
    for path, layer, name in weights(read):
        keep = constraints(pruned.get_submodule(path), name)[0].keep
        assert not getattr(layer, name)[~keep].any()
        assert not original(layer, name)[~keep].any()
        assert torch.equal(original(layer, name) == 0, getattr(layer, name) == 0)


def test_where_nothing_is_pruned_no_weight_is_counted_as_zero(tmp_path):
    for method in (Cluster(), Binary()):
        read = read_back(compressed(method), tmp_path)
        assert all(bool((original(layer, name) != 0).any()) for _, layer, name in weights(read))
        assert all(original(layer, name).min() == 1 for layer, name in coded(read))


def coded(model):
    for _, layer, name in weights(model):
        if isinstance(constraints(layer, name)[-1], Codebook | Signs):
            yield layer, name


def test_codes_count_by_the_bits_of_their_range():
    count = sum(original(layer, name).numel() for _, layer, name in weights(network(Plain)))
    assert weight_bytes(ship(compressed(Cluster(bits=2)))) == math.ceil(count * 2 / 8)
    assert weight_bytes(ship(compressed(Binary(first_last_bits=0)))) == math.ceil(count / 8)
    assert weight_bytes(ship(compressed(Ternary(first_last_bits=0)))) == math.ceil(count * 2 / 8)


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


# Refusals


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("name", SHARING)
def test_what_is_not_finite_is_refused_and_not_hidden(name, wrong):
    model = network(Plain)
    with torch.no_grad():
        model.hidden.weight[0, 0] = wrong
    with pytest.raises(Refused, match=r"hidden\.weight holds values that are infinite or not numbers"):
        METHODS[name]().compress(model, task(idle))


@pytest.mark.parametrize("name", SHARING)
def test_a_training_that_diverges_is_not_hidden(name):
    def diverges(model, **_):
        with torch.no_grad():
            for tensor in model.parameters():
                if tensor.requires_grad:
                    tensor.fill_(math.nan)
        return model.eval()

    with pytest.raises(ValueError, match="after training with it: pass a smaller lr_scale"):
        METHODS[name]().compress(network(Plain), task(diverges))


def test_binary_cannot_hold_zeros():
    with pytest.raises(ValueError, match="a sign and a scale, and neither is zero: write ternary or cluster"):
        Pipeline((Prune(), Binary()))
    model = network(Plain)
    constrain(model.hidden, "weight", Mask.of(model.hidden.weight > 0))
    with pytest.raises(Refused, match=r"hidden\.weight holds zeros"):
        Binary().compress(model, task(idle))
    assert Binary(layers="conv").compress(model, task(idle))


@pytest.mark.parametrize("one", SHARING)
@pytest.mark.parametrize("other", ["ptq", "half", *SHARING])
def test_precision_is_lowered_once(one, other):
    assert METHODS[one].effect is Effect.LOWERS_PRECISION
    with pytest.raises(ValueError, match="precision has been lowered already"):
        Pipeline((METHODS[one](), METHODS[other]()))
    assert PTQ().unsupported(compressed(METHODS[one]())) == "it is quantised already"
    assert METHODS[one]().unsupported(compressed(METHODS[one]())) == "it is quantised already"


def test_weights_under_another_constraint_are_refused():
    assert "is held by a Halve already" in Cluster().unsupported(compressed(METHODS["half"]()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Cluster(bits=0), "bits must be in 1..8, got 0: "), (lambda: Cluster(bits=9), "bits must be in 1..8"),
        (lambda: Cluster(rate=-0.1), "rate must be at least 0"), (lambda: Ternary(first_last_bits=1), "first_last"),
        (lambda: Ternary(threshold=-1.0), "threshold must be at least 0"), (lambda: Binary(lr_scale=0.0), "lr_scale"),
    ],
)  # fmt: skip
def test_fields_are_checked(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# Files that were forged


@pytest.mark.parametrize("codes", [torch.tensor([[255, 3], [0, 1]], dtype=torch.uint8), torch.tensor([[-7, 9], [0, 1]]),
                                   torch.tensor([[math.nan, 1e30], [0.0, 1.0]])])  # fmt: skip
def test_codes_beyond_the_table_read_as_an_entry_of_it(codes):
    for reader in (Codebook.of(torch.tensor([0.5, -1.0])), Signs.of(torch.tensor([0.5, 1.0]))):
        values = reader(codes)
        assert values.isfinite().all()
        assert values[1, 0] == 0
    assert looked_up(torch.empty(0), codes).tolist() == [[0, 0], [0, 0]]


def test_a_file_with_codes_beyond_its_table_is_read(tmp_path):
    model = ship(compressed(Cluster(bits=2)))
    original(model.hidden, "weight").data.fill_(200)
    save(model, tmp_path / "beyond.nnc", {})
    assert load(tmp_path / "beyond.nnc").model(images(2)).isfinite().all()


@pytest.mark.parametrize("config", [{"count": 256}, {"count": -1}, {"count": 2, "dtype": "fp64"}, {"count": "x"}, {}])
def test_tables_that_cannot_be_are_refused(config):
    with pytest.raises(ValueError, match=r"count must be in|cannot be made of|dtype must be one of"):
        build_constraint("Codebook", config)


@pytest.mark.parametrize("constraint", [Codebook.of(torch.tensor([7e4])), Codebook.of(drawn(9)), Signs.of(drawn(4))])
def test_configuration_and_state_make_a_reader_again(constraint):
    again = build_constraint(type(constraint).__name__, constraint.config())
    again.load_state_dict(constraint.state_dict())
    codes = torch.arange(8, dtype=torch.uint8).view(4, 2)
    assert torch.equal(again(codes), constraint(codes))
    assert constraint.shipped(codes) == (codes, constraint)


# Offenders: what the laws above would catch


class Unclustered(Cluster):
    """Says that it clusters, and stores what it was given."""

    def compress(self, model, task):
        return task.finetune(model)


class Forgetful(Cluster):
    """Clusters without regard to what is pruned."""

    def compress(self, model, task):
        model = copy.deepcopy(model)
        for layer in model.modules():
            for name in list(constrained_tensors(layer)):
                constraints(layer, name)[0].keep.fill_(True)
        return Cluster.compress(self, model, task)


def test_offenders_are_caught(tmp_path):
    with pytest.raises(AssertionError):
        _few_values(read_back(Unclustered().compress(network(Plain), task(train_a_little)), tmp_path))
    _few_values(read_back(compressed(Cluster()), tmp_path))
    with pytest.raises(AssertionError):
        test_pruned_weights_stay_exactly_zero_and_are_counted_as_zeros(Forgetful(), tmp_path)


def _few_values(model):
    assert all(len(getattr(layer, name).unique()) <= 16 for _, layer, name in weights(model))


@pytest.mark.parametrize("name", SHARING)
def test_depthwise_layers_and_layers_called_twice(name):
    for kind in (Depthwise, Plain):
        assert compressed(METHODS[name](), kind)(images(2)).isfinite().all()


# Exports


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter's own imports
def test_an_export_runs_in_onnxruntime_and_agrees(name, tmp_path, capsys):
    if reason := FORMATS["onnx"].unavailable():
        pytest.skip(reason)
    batch = next(opened().batches("train", 64, device="cpu"))[0]
    training = Task(lambda model, **_: model.eval(), lambda count: iter([batch]))
    made = METHODS[name]().compress(trace(example(3).eval()), training)
    path = written(tmp_path / "row.nnc", made, chain=name, class_names=[str(one) for one in range(7)])
    assert run_bench.main(["--export", str(path), "--to", "onnx", "--out", str(tmp_path)]) == 0
    assert "100.00 % predicted alike" in capsys.readouterr().out


@pytest.mark.parametrize("method", [Cluster(), Ternary(), Ternary(scales="trained"), Binary()], ids=str)
def test_frozen_weights_stay_frozen_and_others_do_not(method):
    before, trained = network(Plain), []
    before.get_submodule("hidden").requires_grad_(False)

    def watched(model, **_):
        trained.extend(name for name, tensor in model.named_parameters() if tensor.requires_grad)
        return model.eval()

    method.compress(before, task(watched))
    assert not [name for name in trained if name.startswith("hidden.")]
    assert [name for name in trained if name.startswith("twice.parametrizations.weight.")]
