"""Laws of the method that makes spectral layers."""

import copy
import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.artifact import save
from methods.allocation import corner
from methods.base import Task
from methods.graph import graph_from_data, graph_to_data, modules_called, trace
from methods.layers import Mask, SpectralConv2d, SpectralLinear, constrain
from methods.spectral import DCT
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


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (10, 84), (512, 512), (3, 64), (120, 16)])
def test_the_corner_fits_and_is_as_square_as_it_can_be(height, width):
    assert corner(height, width, 1.0) == (height, width)
    for keep in (0.001, 0.05, 0.2, 0.5, 0.99):
        rows, columns = corner(height, width, keep)
        assert 1 <= rows <= height
        assert 1 <= columns <= width
        assert rows * columns <= max(1, keep * height * width)
        assert rows * columns >= keep * height * width - max(rows, columns) - 1
        assert abs(rows - columns) <= 3 or min(rows - height, columns - width) == -max(height - rows, width - columns)


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
