"""fp32 means fp32: a runtime that lowers precision by itself is told not to. Of a GPU the settings alone are read."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.artifact import ship
from bench.runtimes import RUNTIMES
from bench.runtimes.onnxruntime_session import provider_settings
from methods.graph import trace
from tests.quantization_example import SHAPE, images

OTHERS = ("fp16", "bf16", "int8_gemm")  # are called what they are
HERE = [name for name, runtime in RUNTIMES.items() if name not in OTHERS and not runtime.unavailable("cpu")]


@pytest.fixture
def lowered():
    """A process in which somebody has asked for speed."""
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.mkldnn.conv.fp32_precision = "none"


def wide():
    """Sums so long that a product with 8 or 10 bits is seen in them."""
    torch.manual_seed(3)
    channels = SHAPE[0]
    layers = nn.Conv2d(channels, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.Flatten(), nn.LazyLinear(256)
    network = nn.Sequential(*layers, nn.Linear(256, 7)).eval()
    network(images(1))
    return ship(trace(network))


def relative_error(logits, model, x):
    with torch.no_grad():
        exact = model.double()(x.double()).numpy()
    model.float()
    return np.abs(logits - exact).max() / exact.std()


def load(name, model, folder):
    return RUNTIMES[name].load(model, RUNTIMES[name].prepare(model, SHAPE, folder), threads=1, device="cpu")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own imports
@pytest.mark.parametrize(
    "name", [name for name in RUNTIMES if name not in OTHERS and not RUNTIMES[name].unavailable("cpu")]
)
def test_float_networks_run_in_float32_whatever_the_process_had_asked_for(lowered, name, tmp_path):
    model, x = wide(), images(8)
    logits = load(name, model, tmp_path).run(x.numpy())
    assert relative_error(logits, model, x) < 2e-5  # bfloat16: 1e-2, TF32: 1e-3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own imports
@pytest.mark.parametrize("name", ["eager", "inductor"])
def test_torch_is_told_so_for_gpus_too(lowered, name, tmp_path):
    load(name, wide(), tmp_path)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_the_law_above_can_be_broken():
    """Products of 8 bits are seen."""
    model, x = wide(), images(8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x).float().numpy()
    assert relative_error(logits, model, x) > 1e-3


def test_onnxruntimes_gpu_provider_is_told_so():
    assert provider_settings("cuda:1") == {"device_id": 1, "use_tf32": 0}
    assert provider_settings("cuda") == {"device_id": 0, "use_tf32": 0}
    assert provider_settings("cpu") == {}
