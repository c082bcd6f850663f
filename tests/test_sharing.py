"""Laws of weights that share values, in files, chains and exports: `cluster`, `ternary`, `binary`."""

import copy
import math

import pytest
import torch

import run_bench
from bench.artifact import load, save, ship
from bench.exporting import FORMATS
from bench.measure.nonzeros import weight_bytes
from methods import METHODS
from methods.base import Effect, Pipeline, Refused, Task
from methods.graph import trace
from methods.layers import Mask, build_constraint, constrain, constrained_tensors, constraints, original, weights
from methods.layers.codebooks import Codebook, looked_up
from methods.layers.signed import Signs
from methods.lowrank import LowRank
from methods.pruning import Prune
from methods.quantization import PTQ
from methods.sharing import Binary, Cluster, Ternary
from methods.spectral import DCT
from tests.drawing import drawn
from tests.measure_example import network as example
from tests.measure_example import opened, written
from tests.quantization_example import KINDS, Depthwise, Plain, Residual, images, network, task, train_a_little
from tests.sharing_example import SHARING, compressed, idle, read_back

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
