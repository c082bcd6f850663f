"""Laws of the method that makes spectral layers."""

import copy
import dataclasses
import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.artifact import load, save, ship
from methods.allocation import corner
from methods.base import Task
from methods.graph import graph_from_data, graph_to_data, modules_called, trace
from methods.layers import Mask, SpectralConv2d, SpectralLinear, constrain, constraints
from methods.layers.bases import basis
from methods.spectral import DCT, DFT, DST, Hadamard, RandomBasis, Wavelet
from tests.drawing import drawn, filled


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.narrow = nn.Conv2d(16, 3, 1)
        self.head = nn.Linear(3, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = self.narrow(self.depthwise(x + self.second(x)))
        return self.head(x.mean((2, 3)))


def untrained(model, *, lr_scale=1.0, full=False, decay=None):
    return model.eval()


TASK = Task(finetune=untrained, calibration=lambda count: iter([drawn(count, 3, 9, 7)]))


@pytest.fixture
def network():
    return trace(filled(Small()))


@pytest.mark.parametrize("layers", ["all", "conv", "linear"])
def test_keeping_all_keeps_the_network(network, layers):
    x = drawn(5, 3, 9, 7)
    torch.testing.assert_close(
        DCT(keep=1.0, layers=layers).compress(network, TASK)(x), network(x), atol=1e-3, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("layers", "replaced"),
    [("all", {"first", "second", "narrow", "head"}), ("conv", {"first", "second", "narrow"}), ("linear", {"head"})],
)
def test_the_scope_chooses_the_layers_and_depthwise_ones_stay(network, layers, replaced):
    after = modules_called(DCT(keep=0.3, layers=layers).compress(network, TASK))
    assert {path for path, layer in after.items() if isinstance(layer, SpectralConv2d | SpectralLinear)} == replaced


@pytest.mark.parametrize("keep", [0.02, 0.2, 0.77])
def test_at_most_the_fraction_is_kept(network, keep):
    before, after = modules_called(network), modules_called(DCT(keep=keep).compress(network, TASK))
    for path, layer in after.items():
        if isinstance(layer, SpectralConv2d | SpectralLinear):
            taps = math.prod(getattr(layer, "kernel_size", (1,))) * getattr(layer, "groups", 1)
            assert taps <= layer.coefficients.numel() <= max(taps, keep * before[path].weight.numel())


def test_a_written_graph_with_spectral_layers_reads_back(network):
    small = DCT(keep=0.3).compress(network, TASK)
    again = graph_from_data(graph_to_data(small), copy.deepcopy(small))
    assert torch.equal(again(drawn(2, 3, 9, 7)), small(drawn(2, 3, 9, 7)))


def test_export_with_a_free_batch_size(network):
    small = DCT(keep=0.3).compress(network, TASK)
    with torch.no_grad():
        small(drawn(2, 3, 9, 7))  # weights are kept by now: the export must not depend on them
    shapes = ({0: torch.export.Dim("n", min=1, max=64)},)
    exported = torch.export.export(small, (drawn(2, 3, 9, 7),), dynamic_shapes=shapes).module()
    for batch in (1, 5):
        x = drawn(batch, 3, 9, 7)
        torch.testing.assert_close(exported(x), small(x), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses what torch deprecates
def test_onnx_gives_the_same_outputs(network):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    small, file = DCT(keep=0.3).compress(network, TASK), io.BytesIO()
    shapes = ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.onnx.export(
        small, (drawn(2, 3, 9, 7),), dynamo=True, dynamic_shapes=shapes, verbose=False, opset_version=18
    )
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = drawn(batch, 3, 9, 7)
        (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(y, small(x).detach().numpy(), atol=1e-4, rtol=1e-4)


def test_reasons_for_a_refusal(network):
    bare = trace(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.ReLU()))
    assert "no layer" in (DCT().unsupported(bare) or "")
    assert DCT().unsupported(network) is None
    constrain(network.first, "weight", Mask.of(network.first.weight > 0))
    assert "first has constraints" in (DCT().unsupported(network) or "")
    assert DCT(layers="linear").unsupported(network) is None


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.5, math.nan])
def test_a_fraction_out_of_range_says_what_to_do(keep):
    with pytest.raises(
        ValueError, match=r"keep must be in \(0, 1\], got .*: pass the fraction of coefficients to keep"
    ):
        DCT(keep=keep)


def test_a_negative_calibration_is_refused():
    with pytest.raises(ValueError, match="calibration must be at least 0, got -1: pass"):
        DCT(calibration=-1)


def test_without_calibration_images_the_coefficients_are_the_projection(network):
    plain = DCT(keep=0.3, calibration=0).compress(network, TASK)
    rows, columns = corner(8, 8, 0.3)  # of each of its two groups
    expected = SpectralConv2d.of(network.second, columns, rows).coefficients
    assert torch.equal(plain.second.coefficients, expected)
    assert not torch.equal(DCT(keep=0.3).compress(network, TASK).second.coefficients, expected)


FORMS = [
    {"axes": "spatial"}, {"axes": "all"}, {"shape": "triangle"}, {"shape": "largest"}, {"budget": "global"},
    {"axes": "all", "shape": "triangle", "budget": "global"}, {"axes": "all", "shape": "largest", "budget": "global"},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("keep", [0.1, 0.5])
def test_every_form_keeps_at_most_its_budget_and_is_nearer_when_fitted(network, form, keep):
    x, replaced = drawn(64, 3, 9, 7), ("first", "second", "depthwise", "narrow", "head")
    fitted = DCT(keep=keep, **form).compress(network, TASK)
    plain = DCT(keep=keep, calibration=0, **form).compress(network, TASK)
    kept = total = least = 0
    for path in replaced:
        layer, dense = fitted.get_submodule(path), network.get_submodule(path)
        if isinstance(layer, SpectralConv2d | SpectralLinear):
            kept, total = kept + int((layer.coefficients != 0).sum()), total + dense.weight.numel()
            least += dense.weight.numel() if form.get("axes") == "spatial" and isinstance(dense, nn.Linear) else 0
            least += math.prod(getattr(layer, "kernel_size", (1,))) * getattr(layer, "groups", 1) * 16
    assert 0 < kept <= max(least, keep * total)
    images = drawn(256, 3, 9, 7)  # those that TASK calibrates on
    assert (fitted(images) - network(images)).norm() <= (plain(images) - network(images)).norm()
    torch.testing.assert_close(fitted(x).isfinite().all(), torch.tensor(True))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_survives_the_file(network, form, tmp_path):
    small = DCT(keep=0.3, **form).compress(network, TASK)
    save(small, tmp_path / "small.nnc", {})
    x = drawn(3, 3, 9, 7)
    torch.testing.assert_close(load(tmp_path / "small.nnc").model(x), small(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_works_in_bf16_under_compilation_and_exported(network, form):
    small, x = DCT(keep=0.3, **form).compress(network, TASK), drawn(3, 3, 9, 7)
    y = small(x)
    half = copy.deepcopy(small).bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - y).norm() < 15 * 2**-8 * y.norm()  # five layers of up to three products, rounded each
    compiled = torch.compile(small, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), y, atol=1e-4, rtol=1e-4)
    slopes = [torch.autograd.grad(one(x).square().sum(), list(small.parameters())) for one in (small, compiled)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    exported = torch.export.export(ship(small), (x,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},))
    torch.testing.assert_close(exported.module()(x[:1]), y[:1], atol=1e-4, rtol=1e-4)


def test_the_largest_coefficients_are_kept_and_their_positions_cost_bytes(network, tmp_path):
    small = DCT(keep=0.3, shape="largest", calibration=0, layers="linear").compress(network, TASK)
    whole = DCT(keep=1.0, calibration=0, layers="linear").compress(network, TASK).head.coefficients
    kept = small.head.coefficients != 0
    assert int(kept.sum()) == math.floor(0.3 * whole.numel())
    assert whole[kept].abs().min() >= whole[~kept].abs().max()
    stored = {}
    for shape in ("triangle", "largest"):
        save(ship(DCT(keep=0.3, shape=shape, calibration=0).compress(network, TASK)), tmp_path / "small.nnc", {})
        stored[shape] = [row for row in load(tmp_path / "small.nnc").ledger if row.tensor == "coefficients"]
    assert all(row.bytes - 4 * row.nonzeros < 40 for row in stored["triangle"])  # no positions
    positions = {shape: sum(row.indices_bytes for row in rows) for shape, rows in stored.items()}
    assert positions["largest"] > positions["triangle"] + 100
    spent = {shape: sum(row.bytes - 4 * row.nonzeros for row in rows) for shape, rows in stored.items()}
    assert spent["largest"] > spent["triangle"]  # by less: the largest have exponents that take fewer bits


@pytest.mark.parametrize("budget", ["uniform", "global"])
def test_of_equal_magnitudes_no_more_are_kept_than_asked_for(budget, network):
    with torch.no_grad():
        for path in ("first", "second", "head"):
            network.get_submodule(path).weight.zero_()
    small = DCT(keep=0.1, shape="largest", budget=budget, calibration=0, layers="all").compress(network, TASK)
    layers = [one for one in small.modules() if isinstance(one, SpectralLinear | SpectralConv2d)]
    masks = [constraints(one, "coefficients")[0].keep for one in layers]
    assert len(masks) == 4
    asked = math.floor(0.1 * sum(mask.numel() for mask in masks))
    assert sum(int(mask.sum()) for mask in masks) <= asked + (len(masks) if budget == "global" else 0)
    assert all(mask.any() for mask in masks)


def test_a_global_budget_ranks_magnitudes_by_their_share_of_the_layers_energy():
    """A layer with weights a hundred times as large keeps no more than its like."""
    pair = trace(filled(nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30))))
    with torch.no_grad():
        pair.get_submodule("1").weight.copy_(100 * pair.get_submodule("0").weight)
    small = DCT(keep=0.2, shape="largest", budget="global", calibration=0).compress(pair, TASK)
    kept = [int((small.get_submodule(path).coefficients != 0).sum()) for path in ("0", "1")]
    assert abs(kept[0] - kept[1]) <= 2
    assert sum(kept) == 360


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        (DCT(), "dct"), (DST(), "dst"), (DFT(), "dft"), (Hadamard(), "hadamard"), (RandomBasis(draw=3), "random:3"),
        *((Wavelet(family=family), family) for family in ("haar", "db2", "db4", "sym4", "coif1")),
    ],
)  # fmt: skip
def test_a_methods_layers_are_in_the_basis_that_it_is_named_after(method, kind):
    dense = filled(nn.Sequential(nn.Linear(12, 10), nn.Conv2d(1, 1, 1)))
    task = dataclasses.replace(TASK, calibration=lambda count: iter(()))
    small = dataclasses.replace(method, layers="linear", keep=0.5, calibration=0).compress(trace(dense[:1]), task)
    layer = small.get_submodule("0")
    rows, columns = layer.coefficients.shape
    expected = basis(kind, 10)[:rows] @ dense[0].weight.double() @ basis(kind, 12)[:columns].T
    torch.testing.assert_close(layer.coefficients.double(), expected, atol=1e-5, rtol=1e-5)
    assert layer.basis_kind == kind


def test_spatial_axes_reach_depthwise_layers_and_leave_linear_ones(network):
    small = DCT(keep=0.5, axes="spatial").compress(network, TASK)
    assert isinstance(small.depthwise, SpectralConv2d)
    assert isinstance(small.head, nn.Linear)
    assert "linear layers have none" in (DCT(axes="spatial", layers="linear").unsupported(network) or "")


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        ("first", {"first"}),
        ("last", {"head"}),
        ("first last", {"first", "head"}),
        ("s*nd n?rrow", {"second", "narrow"}),
    ],
)
def test_layers_are_left_alone_by_place_and_by_name(network, skip, left):
    after = modules_called(DCT(keep=0.3, skip=skip).compress(network, TASK))
    dense = {path for path, layer in after.items() if type(layer) in (nn.Conv2d, nn.Linear)}
    assert dense == left | {"depthwise"}


def test_a_name_to_skip_that_no_layer_has_is_refused(network):
    assert DCT(skip="fist").unsupported(network) == (
        "skip names 'fist', and no layer is called so: there are first, second, depthwise, narrow, head"
    )


def test_coefficients_are_drawn_for_white_inputs():
    for layer in (nn.Linear(300, 200), nn.Conv2d(48, 64, 3, padding=1, padding_mode="circular")):
        small = DCT(init="scratch", calibration=0).compress(trace(nn.Sequential(layer)), TASK)
        x = drawn(100, 300) if isinstance(layer, nn.Linear) else drawn(20, 48, 12, 12)
        assert float(small(x).detach().square().mean()) == pytest.approx(2, rel=0.15)


def test_from_scratch_activations_keep_their_variance():
    """Through many rectified layers, where a wrong scale would show as a power of their number."""
    wide = [one for _ in range(10) for one in (nn.Linear(200, 200), nn.ReLU())]
    for form in ({}, {"shape": "triangle"}, {"keep": 0.5}):
        task = dataclasses.replace(TASK, calibration=lambda count: iter([drawn(count, 200)]))
        small = DCT(init="scratch", **form).compress(trace(nn.Sequential(*wide)), task)
        y = small(drawn(500, 200))
        assert 0.5 < y.square().mean() < 2, form
    padded = {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}
    convolutions = [one for _ in range(5) for one in (nn.Conv2d(32, 32, **padded), nn.ReLU())]
    for form in ({}, {"axes": "all", "keep": 0.4}, {"axes": "spatial", "keep": 0.5}):
        task = dataclasses.replace(TASK, calibration=lambda count: iter([drawn(64, 32, 12, 12)]))
        small = DCT(init="scratch", **form).compress(trace(nn.Sequential(*convolutions)), task)
        assert 0.5 < small(drawn(20, 32, 12, 12)).square().mean() < 2, form


def test_from_scratch_trains_in_full_with_scaled_decay_and_does_not_use_the_weights(network):
    asked = []

    def spy(model, **settings):
        asked.append(settings)
        return model.eval()

    task = Task(finetune=spy, calibration=TASK.calibration, seed=3)
    one = DCT(keep=0.3, init="scratch", layers="linear").compress(network, task)
    with torch.no_grad():
        network.head.weight.mul_(-2)
    two = DCT(keep=0.3, init="scratch", layers="linear").compress(network, task)
    assert torch.equal(one.head.coefficients, two.head.coefficients)
    share = one.head.coefficients.numel() / network.head.weight.numel()
    assert asked[0] == {"full": True, "decay": {"head.coefficients": pytest.approx(share)}}
    DCT(keep=0.3, recipe="full").compress(network, task)
    DCT(keep=0.3).compress(network, task)
    DCT(keep=0.3, init="scratch", recipe="finetune", layers="linear").compress(network, task)
    assert [one["full"] for one in asked[2:]] == [True, False, False]
    assert asked[2]["decay"] == {}


@pytest.mark.parametrize("field", ["axes", "shape", "budget", "init", "recipe"])
def test_an_unknown_choice_is_refused_by_name(field):
    with pytest.raises(ValueError, match=f"{field} must be one of .*, got 'none'"):
        DCT(**{field: "none"})


def test_random_coefficients_have_no_largest_ones():
    with pytest.raises(ValueError, match="shape=largest needs init=project"):
        DCT(shape="largest", init="scratch")


def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="layers must be all, conv or linear, got 'convs'"):
        DCT(layers="convs")


def test_reading_a_file_with_spectral_layers_does_not_load_torchs_compiler(tmp_path):
    """It would count as the file's memory."""
    model = trace(nn.Sequential(SpectralLinear(12, 7, 3, 3)))
    save(model, tmp_path / "spectral.nnc", {})
    code = (
        "import sys, pathlib; from bench.artifact import load\n"
        "before = set(sys.modules)\n"
        f"load(pathlib.Path({str(tmp_path / 'spectral.nnc')!r}))\n"
        "new = sorted({name.split('.')[0] for name in set(sys.modules) - before} & {'sympy'})\n"
        "new += [name for name in set(sys.modules) - before if name.startswith('torch._dynamo')]\n"
        "assert not new, new"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
