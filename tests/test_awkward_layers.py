"""Runtimes on layers that are less usual: they compute what eager does, and say what they left in float32."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.artifact import ship
from bench.exporting import FORMATS
from bench.runtimes import RUNTIMES
from bench.runtimes.lowering import baked
from methods import METHODS, Task
from methods.graph import trace
from methods.quantization import PTQ
from tests.test_runtimes import logits, step_of_logits

COMPILER_WARNS = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of its own insides
SHAPE = (3, 12, 10)


class Paddings(nn.Module):
    """Padding by name, by reflection, of an even kernel; groups with stride; one channel; no bias."""

    def __init__(self):
        super().__init__()
        self.same, self.even = nn.Conv2d(3, 8, 3, padding="same"), nn.Conv2d(8, 8, 2, padding=1, bias=False)
        self.reflect = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.grouped, self.one = nn.Conv2d(8, 12, 3, stride=2, groups=4, dilation=2), nn.Conv2d(12, 1, 1)
        self.head = nn.Linear(20, 5)

    def forward(self, x):
        x = F.relu(self.even(F.relu(self.same(x))))
        x = F.relu(self.grouped(F.relu(self.reflect(x))))
        return self.head(self.one(x).flatten(1))


class OneDimensional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv1d(36, 6, 3, padding=1), nn.BatchNorm1d(6), nn.Linear(60, 5)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.conv(x.flatten(1, 2)))).flatten(1))


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.head = nn.Linear(4 * 24 * 20, 5)

    def forward(self, x):
        return self.head(F.relu(self.up(F.relu(self.conv(x)))).flatten(1))


class TwoLinears(nn.Module):
    """As in LeNet: two linear layers in a row, the first on more values than a multiple of a group."""

    def __init__(self):
        super().__init__()
        self.conv, self.hidden, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6 * 5 * 4, 30), nn.Linear(30, 5)

    def forward(self, x):
        return self.head(F.relu(self.hidden(F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1))))


def images(count, seed=0):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def task():
    return Task(finetune=lambda model, **_: model.eval(), calibration=lambda count: iter([images(32, 1)[:count]]))


def made(kind, method):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind()
    return ship(method.compress(trace(model), task()))


def session(name, model, folder):
    if reason := RUNTIMES[name].unavailable("cpu"):
        pytest.skip(reason)
    deployed = RUNTIMES[name].prepare(model, SHAPE, folder)
    return RUNTIMES[name].load(model, deployed, threads=1, device="cpu")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["ptq", "dynamic"])
@pytest.mark.parametrize("kind", [Paddings, OneDimensional, Transposed])
def test_exported_networks_compute_what_eager_does(kind, name, runtime, tmp_path):
    model, x = made(kind, METHODS[name]()), images(4)
    found = session(runtime, model, tmp_path).run(x.numpy())
    assert np.abs(found - logits(model, x)).max() <= step_of_logits(model, x)


@COMPILER_WARNS
def test_one_dimensional_convolutions_are_left_to_the_compiler_in_float(tmp_path):
    model, x = made(OneDimensional, PTQ()), images(4)
    compiled = session("inductor", model, tmp_path)
    assert np.abs(compiled.run(x.numpy()) - logits(model, x)).max() <= step_of_logits(model, x)


@pytest.mark.parametrize("runtime", ["eager", "onnxruntime", "openvino"])
def test_a_transposed_convolution_in_float_is_named(runtime, tmp_path):
    opened = session(runtime, made(Transposed, PTQ()), tmp_path)
    opened.run(images(2).numpy())
    assert "fp32" in {one.precision for one in opened.kernels().counts}


@COMPILER_WARNS
@pytest.mark.parametrize(("name", "fields"), [("ptq", {}), ("weight_only", {"group": 64})])
def test_packages_of_linear_layers_in_a_row_are_right_at_every_batch_size(name, fields, tmp_path):
    model = made(TwoLinears, METHODS[name](**fields))
    opened = session("aoti", model, tmp_path)
    for count in (1, 2, 5, 32, 33):
        x = images(count, seed=count)
        assert np.abs(opened.run(x.numpy()) - logits(model, x)).max() <= step_of_logits(model, x), count


def test_weights_are_laid_out_in_order_whatever_reads_them_back():
    model = baked(made(TwoLinears, METHODS["weight_only"](group=50, first_last_bits=0)))
    assert all(tensor.is_contiguous() for tensor in model.parameters())


@COMPILER_WARNS
def test_an_exported_package_takes_any_number_of_images_in_its_session(tmp_path):
    if reason := FORMATS["aoti"].unavailable():
        pytest.skip(reason)
    model, x = made(TwoLinears, PTQ()), images(3)
    FORMATS["aoti"].write(model, {"input_shape": list(SHAPE)}, tmp_path / "row.pt2")
    found = FORMATS["aoti"].load(tmp_path / "row.pt2", 1).run(x.numpy())
    assert np.abs(found - logits(model, x)).max() <= step_of_logits(model, x)
