"""Laws of quantised spectral layers: the same outputs in three layers, which int8 kernels run; no more is stored."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bench.artifact import load, save, ship
from bench.measure.macs import macs_of
from bench.runtimes import RUNTIMES
from methods import METHODS
from methods.folding import fold_batch_norms
from methods.graph import trace
from methods.layers import (
    BasisTransform,
    Mask,
    SpectralConv2d,
    SpectralLinear,
    constrain,
    constraints,
    original,
    weights,
)
from methods.layers.activations import ActivationQuantizer
from methods.layers.quantization import StepQuantizer
from methods.quantization import placement
from methods.quantization.expansion import expand
from tests.drawing import drawn, filled
from tests.int8_spectral_example import CONVOLUTIONS, SHAPE, dense, labelled, result, task
from tests.spectral_example import CONVOLUTIONS as CONFIGURATIONS
from tests.spectral_example import convolution, spectral, take

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch pads a copy
PRUNE, PTQ, QAT = METHODS["prune"](sparsity=0.6), METHODS["ptq"](), METHODS["qat"]()


def transforms(model: nn.Module) -> list[BasisTransform]:
    return [layer for layer in model.modules() if isinstance(layer, BasisTransform)]


def spectral_layers(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, SpectralConv2d | SpectralLinear)]


def expanded(model, x, layers="all", bits=None):
    return expand(copy.deepcopy(model), [x], layers, bits)


# The same outputs in three layers


@pytest.mark.parametrize("keep", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_an_expanded_convolution_computes_what_the_layer_did(config, keep, monkeypatch):
    layer, x = spectral(convolution(config), keep), drawn(3, config["in_channels"], 11, 8)
    take(layer, "factored", monkeypatch)
    monkeypatch.setattr(SpectralConv2d, "deployed_path", lambda self, shape: "factored")
    model = trace(nn.Sequential(layer, nn.ReLU()))
    new = expanded(model, x)
    assert len(transforms(new)) == (2 if layer.padding_mode == "zeros" else 0)  # int8 kernels pad with nothing else
    torch.testing.assert_close(new(x), model(x), atol=1e-5, rtol=1e-5)
    if layer.padding_mode == "zeros":
        assert macs_of(new, tuple(x.shape[1:])) == layer.path_macs(tuple(x.shape))["factored"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_an_expanded_linear_layer_computes_what_the_layer_did(shape, bias):
    layer, x = spectral(filled(nn.Linear(64, 48, bias=bias)), 0.1), drawn(*shape, 64)
    model = trace(nn.Sequential(layer, nn.ReLU()))
    new = expanded(model, x)
    assert len(transforms(new)) == 2
    torch.testing.assert_close(new(x), model(x), atol=1e-5, rtol=1e-5)
    if shape == (4,):
        assert macs_of(new, (64,)) == layer.path_macs()["factored"]


@pytest.mark.parametrize("bits", [7, 8])
def test_rounded_bases_stay_close(bits):
    model, x = result(), labelled(32, seed=1)[0]
    new = expanded(model, x, bits=bits)
    with torch.no_grad():
        assert ((new(x) - model(x)).norm() / model(x).norm()) < 2.0 ** (2 - bits)


class Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.norm = layer, nn.BatchNorm2d(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(torch.relu(self.layer(x))))


def test_a_layer_that_is_called_twice_is_expanded_once(monkeypatch):
    layer = spectral(filled(nn.Conv2d(32, 32, 3, padding=1)), 0.1)
    take(layer, "factored", monkeypatch)  # the same products on both sides
    model, x = trace(Twice(layer)), drawn(2, 32, 6, 5)
    new = expanded(model, x)
    assert len(transforms(new)) == 2
    assert sum(node.op == "call_module" and "ward" in node.target for node in new.graph.nodes) == 4
    torch.testing.assert_close(fold_batch_norms(new)(x), model(x), atol=1e-5, rtol=1e-5)


def test_where_the_dense_path_is_cheaper_for_one_input_the_layer_stays():
    layer = spectral(filled(nn.Conv2d(24, 24, 3)), 0.4)
    assert (layer.deployed_path((1, 24, 3, 3)), layer.deployed_path((1, 24, 30, 30))) == ("materialised", "factored")
    model = trace(nn.Sequential(layer))
    assert len(transforms(expanded(model, drawn(1, 24, 30, 30)))) == 2
    both = expand(copy.deepcopy(model), [drawn(1, 24, 30, 30), drawn(1, 24, 3, 3)], "all", 8)
    assert both.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("layers", ["conv", "linear"])
def test_layers_keeps_to_one_family(layers):
    model = METHODS["ptq"](layers=layers).compress(result(), task())
    assert {one.domain for one in transforms(model)} == {layers}
    assert {layer.scope for layer in spectral_layers(model)} >= {"linear" if layers == "conv" else "conv"}


def test_masks_move_to_the_coefficients():
    layer = spectral(filled(nn.Conv2d(32, 32, 3, padding=1)), 0.1)
    keep = drawn(*layer.coefficients.shape) > 0
    constrain(layer, "coefficients", Mask.of(keep))
    model, x = trace(nn.Sequential(layer)), drawn(2, 32, 6, 5)
    new = expanded(model, x)
    (core,) = (layer for layer in new.modules() if isinstance(layer, nn.Conv2d))
    assert torch.equal(core.weight == 0, ~keep)
    torch.testing.assert_close(new(x), model(x), atol=1e-5, rtol=1e-5)


# Transforms


TRANSFORMS = [
    BasisTransform("conv", "dct", 12, 5, "inward", groups=3, bits=8),
    BasisTransform("conv", "hadamard", 12, 5, "outward", groups=2, bits=7, bias=True, scaled=True),
    BasisTransform("linear", "db2", 9, 9, "outward", bits=8, bias=True),
    BasisTransform("linear", "random:3", 7, 2, "inward", bits=4, scaled=True),
]


@pytest.mark.parametrize("layer", [filled(layer) for layer in TRANSFORMS], ids=str)
def test_a_transform_is_the_ordinary_layer_of_its_codes(layer):
    shape = (2, layer.in_channels, 3, 4) if layer.domain == "conv" else (2, 3, layer.in_channels)
    if layer.scale is not None:
        with torch.no_grad():
            layer.scale[1] = 0.0
    plain, x = layer.plain(), drawn(*shape)
    assert original(plain, "weight").dtype == torch.int8
    torch.testing.assert_close(plain(x), layer(x), atol=1e-5, rtol=1e-5)
    assert set(layer.state_dict()) == {name for name, _ in layer.named_parameters()} <= {"bias", "scale"}


def test_rounding_is_to_the_nearest_code_of_each_row():
    for direction in ("inward", "outward"):
        rounded = BasisTransform("linear", "dct", 16, 6, direction, bits=8)
        exact = BasisTransform("linear", "dct", 16, 6, direction).matrix
        step = rounded.step()
        assert ((rounded.matrix - exact).abs() <= 0.501 * step[:, None]).all()
        assert torch.equal((rounded.matrix / step[:, None]).round().abs().amax(1), torch.full_like(step, 127.0))


@pytest.mark.parametrize(
    "wrong", [{"domain": "image"}, {"direction": "up"}, {"bits": 9}, {"groups": 0}, {"domain": "linear", "groups": 2}]
)
def test_impossible_transforms_are_refused(wrong):
    arguments = {"domain": "conv", "basis_kind": "dct", "size": 4, "rows": 2, "direction": "inward"}
    with pytest.raises(ValueError, match="got"):
        BasisTransform(**{**arguments, **wrong})


def test_a_batch_norm_folds_into_the_outward_transform():
    norm = filled(nn.BatchNorm2d(48))
    norm.running_mean.copy_(drawn(48, seed=5))
    norm.running_var.copy_(drawn(48, seed=6).abs())
    for bias in (True, False):
        layer = spectral(filled(nn.Conv2d(32, 48, 3, bias=bias)), 0.1)
        model, x = trace(nn.Sequential(layer, copy.deepcopy(norm))), drawn(2, 32, 6, 5)
        new = fold_batch_norms(expanded(model, x))
        assert not [layer for layer in new.modules() if isinstance(layer, nn.BatchNorm2d)]
        torch.testing.assert_close(new(x), model(x), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ship(new)(x), model(x), atol=1e-4, rtol=1e-4)


# Chains, from the file, in int8 kernels


class NotInInt8(AssertionError):
    pass


def deployed(model, folder, runtime="onnxruntime"):
    """A session over what was read from the file of `model`, and the network read."""
    save(ship(model), folder / "artifact.nnc", {})
    read = load(folder / "artifact.nnc").model
    return RUNTIMES[runtime].load(read, RUNTIMES[runtime].prepare(read, SHAPE, folder), threads=1, device="cpu"), read


def all_convolutions_run_in_int8(words: str) -> None:
    """Every convolution is three of them, and no other convolution ran."""
    if f"int8 QLinearConv x{3 * CONVOLUTIONS}," not in words or "Conv" in words.partition("fp32")[2]:
        raise NotInInt8(words)


@pytest.mark.parametrize("then", [(PTQ,), (QAT,), (PRUNE, QAT)], ids=["dct+ptq", "dct+qat", "dct+prune+qat"])
def test_a_chain_runs_in_int8_from_its_file_and_predicts_what_eager_simulates(then, tmp_path):
    session, read = deployed(result(*then), tmp_path)
    x, _ = labelled(800, seed=77)
    with torch.no_grad():
        simulated = read(x)
        torch.testing.assert_close(simulated, result(*then)(x), atol=1e-4, rtol=1e-4)
    logits = session.run(x.numpy())
    assert (logits.argmax(1) == simulated.argmax(1).numpy()).mean() >= 0.995
    assert np.sqrt(np.square(logits - simulated.numpy()).mean()) < 0.01 * simulated.std()
    all_convolutions_run_in_int8(session.kernels().words())
    assert (
        "int8 QGemm x3, fp32 Gemm x1" in session.kernels().words()
    )  # `hidden` is cheaper dense: not rounded behind our back


def test_spectral_layers_that_run_in_float_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("methods.quantization.preparation.expand", lambda model, *_: model)
    session, _ = deployed(PTQ.compress(result(), task()), tmp_path)
    with pytest.raises(NotInInt8):
        all_convolutions_run_in_int8(session.kernels().words())


def test_a_transform_without_quantisers_around_it_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "_MULTIPLIES", {})
    monkeypatch.setattr(placement, "_multiplies", lambda model, node, layers: "coefficients" in str(node.target))
    session, _ = deployed(PTQ.compress(result(), task()), tmp_path)
    with pytest.raises(NotInInt8):
        all_convolutions_run_in_int8(session.kernels().words())


def test_eager_names_the_transforms_that_it_runs(tmp_path):
    session, _ = deployed(result(PTQ), tmp_path, "eager")
    session.run(np.zeros((1, *SHAPE), np.float32))
    kernels = session.kernels()
    assert sum(one.calls for one in kernels.counts if one.kernel == "convolution") == 3 * CONVOLUTIONS
    assert kernels.notes[0] == "int8 simulated"


@pytest.mark.parametrize("method", [PTQ, QAT])
def test_the_file_takes_about_a_quarter(method, tmp_path):
    sizes = []
    for index, model in enumerate((dense(), result(), result(method))):
        save(ship(model), tmp_path / str(index), {})
        sizes.append((tmp_path / str(index)).stat().st_size)
    stored = [sum(tensor.numel() for tensor in ship(one).parameters()) for one in (result(), result(method))]
    assert stored[1] <= stored[0]  # no basis among them
    assert sizes[2] < 0.34 * sizes[1] < 0.1 * sizes[0]  # the rest are headers of a small network


def test_pruned_coefficients_stay_zero():
    pruned, model = result(PRUNE), ship(result(PRUNE, QAT))
    zeros = [original(layer, name) == 0 for _, layer, name in weights(ship(pruned))]
    codes = [original(layer, name) for _, layer, name in weights(model)]
    assert [one.shape for one in codes] == [one.shape for one in zeros]
    assert all(code.dtype == torch.int8 and not code[zero].any() for code, zero in zip(codes, zeros, strict=True))


def test_every_layer_reads_the_grid_and_batch_norms_are_gone():
    model = result(QAT)
    layers = dict(model.named_modules())
    assert not [layer for layer in layers.values() if isinstance(layer, nn.BatchNorm2d)]
    calls = {node: layers[node.target] for node in model.graph.nodes if node.op == "call_module"}
    for node, layer in calls.items():
        if isinstance(layer, BasisTransform | nn.Conv2d):
            assert isinstance(calls[node.args[0]], ActivationQuantizer), node
    assert all(isinstance(constraints(layer, name)[-1], StepQuantizer) for _, layer, name in weights(model))


def test_the_multiplications_are_those_of_the_spectral_network(monkeypatch):
    for kind in (SpectralConv2d, SpectralLinear):
        monkeypatch.setattr(kind, "path", kind.deployed_path)
    norms = 48 * 9 * 7 * 2 + 64 * 5 * 4  # which after `dct` are a scale and a shift, and here part of a transform
    assert macs_of(ship(result(PTQ)), SHAPE) == macs_of(ship(result()), SHAPE) - norms


def test_bits_of_the_bases_follow_those_of_the_weights_down_to_7():
    bits = {n: {one.bits for one in transforms(METHODS["ptq"](bits=n).compress(result(), task()))} for n in (8, 7, 3)}
    assert bits == {8: {8}, 7: {7}, 3: {7}}


@pytest.mark.parametrize("form", [{"axes": "all"}, {"shape": "triangle"}, {"axes": "all", "shape": "triangle"}])
@pytest.mark.parametrize("method", [PTQ, QAT], ids=["ptq", "qat"])
def test_forms_whose_coefficients_are_no_kernel_stay_and_store_codes_of_their_coefficients(form, method, tmp_path):
    small = METHODS["dct"](keep=0.1, **form).compress(dense(), task())
    quantised = method.compress(small, task())
    apart = [
        layer
        for layer in spectral_layers(quantised)
        if not isinstance(layer, SpectralLinear) or form != {"axes": "all"}
    ]
    assert len(apart) >= CONVOLUTIONS - 1  # the stem's three channels may leave a layer nothing to cut
    x, _ = labelled(64, seed=9)
    path = tmp_path / "small.nnc"
    save(ship(quantised), path, {})
    read = load(path).model
    torch.testing.assert_close(read(x), quantised(x), atol=1e-4, rtol=1e-4)
    save(ship(small), tmp_path / "float.nnc", {})
    assert path.stat().st_size < 0.5 * (tmp_path / "float.nnc").stat().st_size
