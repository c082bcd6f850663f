"""Laws of runtimes: the same logits as eager, in the kernels that they name, without torch where that is promised."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bench.artifact import ship
from bench.file_speed import Timing, time_by_turns
from bench.runtimes import RUNTIMES, RuntimeFailure, Session
from bench.runtimes.kernels import Kernels
from bench.runtimes.lowering import baked, spelled_out
from bench.runtimes.onnx_file import settings_of
from bench.runtimes.onnxruntime_session import OnnxSession, session_options
from bench.runtimes.processor import has_vnni
from methods import METHODS
from methods.graph import trace
from methods.layers import original
from methods.layers.quantization import Dequantize
from methods.pruning import Prune
from methods.quantization import PTQ
from methods.spectral import DCT
from tests.quantization_example import (
    CONVOLUTIONS,
    KINDS,
    LINEARS,
    SHAPE,
    Depthwise,
    Plain,
    Residual,
    images,
    network,
    task,
)
from tests.quantization_example import train_a_little as train

ROOT = Path(__file__).parents[1]


def session(name, model, folder, **options):
    deployed = RUNTIMES[name].prepare(model, SHAPE, folder)
    return RUNTIMES[name].load(model, deployed, **{"threads": 1, "device": "cpu", **options})


def kernels(name, model, folder):
    """What ran for two images."""
    opened = session(name, model, folder)
    opened.run(images(2).numpy())
    return opened.kernels()


def logits(model, x):
    with torch.no_grad():
        return model(x).numpy()


def step_of_logits(model, x):
    """How far logits may differ between two exact int8 runtimes: a rounding tie upstream moves a code by one."""
    return 0.02 * np.abs(logits(model, x)).max() + 1e-4


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    """Each small network quantised, shipped and open in ONNX Runtime: exporting is what takes time here."""
    found = {}
    for kind in KINDS:
        model = ship(PTQ().compress(network(kind), task()))
        found[kind] = model, session("onnxruntime", model, tmp_path_factory.mktemp(kind.__name__))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_eager_gives_the_logits_of_the_network_itself(kind, tmp_path):
    model, x = ship(PTQ().compress(network(kind), task())), images(3)
    assert np.allclose(session("eager", model, tmp_path).run(x.numpy()), logits(model, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_runs_in_int8_in_onnxruntime(int8, kind):
    words = int8[kind][1].kernels().words()
    assert f"int8 QLinearConv x{CONVOLUTIONS[kind]}" in words
    assert f"int8 QGemm x{LINEARS[kind]}" in words
    assert "fp32" not in words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 7, 33])
def test_int8_logits_are_those_that_eager_simulates(int8, kind, count):
    model, deployed = int8[kind]
    x = images(count, seed=4)
    assert np.abs(deployed.run(x.numpy()) - logits(model, x)).max() <= step_of_logits(model, x)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_and_simulation_mostly_predict_alike(int8, kind):
    model, deployed = int8[kind]
    x = images(200, seed=6)
    assert (deployed.run(x.numpy()).argmax(1) == logits(model, x).argmax(1)).mean() >= 0.97


def extreme() -> nn.Module:
    """Neighbouring products that all are as large as they get: int16 sums of two would saturate."""
    layer = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(280, 5))
    with torch.no_grad():
        for index in (0, 2):
            layer[index].weight.fill_(0.5)
    return layer


@pytest.mark.parametrize("bits", [7, 8])
@pytest.mark.parametrize("vnni", [False, None])
def test_large_codes_do_not_saturate(tmp_path, monkeypatch, bits, vnni):
    """vnni: False where the processor counts as one without; None for what it is. One image takes another kernel."""
    if vnni is False:
        monkeypatch.setattr("bench.runtimes.onnxruntime_session.has_vnni", lambda: False)
    x = images(16).abs() + 1
    calibration = type(task())(None, lambda count: iter([x]))
    model = ship(PTQ(bits=bits, first_last_bits=0).compress(trace(extreme()), calibration))
    deployed = session("onnxruntime", model, tmp_path)
    for batch in (x, x[:1]):
        assert np.abs(deployed.run(batch.numpy()) - logits(model, batch)).max() <= step_of_logits(model, x)
    assert json.loads(settings_of(tmp_path / "model.onnx").read_text())["largest_weight_code"] == 2 ** (bits - 1) - 1
    assert bits == 8 or "u8u8" not in deployed.kernels().words()
    settings_of(tmp_path / "model.onnx").unlink()  # a file that has lost its settings is run exactly
    alone = OnnxSession(tmp_path / "model.onnx", threads=1, device="cpu")
    assert np.abs(alone.run(x.numpy()) - logits(model, x)).max() <= step_of_logits(model, x)


def test_the_law_above_can_be_broken(tmp_path):
    """Settings that lie: on a processor where sums of two products saturate, the logits are then wrong."""
    x = images(16).abs() + 1
    model = ship(PTQ().compress(trace(extreme()), type(task())(None, lambda count: iter([x]))))
    exact = session("onnxruntime", model, tmp_path)
    if "u8u8" not in exact.kernels().words():
        pytest.skip("this processor has instructions whose sums do not saturate")
    settings_of(tmp_path / "model.onnx").write_text('{"largest_weight_code": 63}')
    saturating = OnnxSession(tmp_path / "model.onnx", threads=1, device="cpu")
    assert np.abs(saturating.run(x.numpy()) - logits(model, x)).max() > 5 * step_of_logits(model, x)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor : 1\nflags : fpu avx2 avx512_vnni", True),
        ("flags : fpu avx2 avx_vnni", True),
        ("flags : fpu avx2 avx512f\nbugs : avx_vnni", False),
        ("flags : fpu avx2 avx_vnni\nflags : fpu avx2", False),  # some cores have it: a thread may run on the others
        ("Features : asimd asimddp", False),
        ("", False),
    ],
)
def test_instructions_are_read_from_the_processors_own_account(tmp_path, text, known):
    (tmp_path / "cpuinfo").write_text(text)
    assert has_vnni(tmp_path / "cpuinfo") is known


def test_of_an_unknown_processor_nothing_is_taken_for_granted(tmp_path):
    assert not has_vnni(tmp_path / "absent")


@pytest.mark.parametrize(("vnni", "code", "exact"), [(False, 127, True), (True, 127, False), (False, 63, False)])
def test_exact_kernels_are_asked_for_only_where_sums_may_saturate(tmp_path, monkeypatch, vnni, code, exact):
    monkeypatch.setattr("bench.runtimes.onnxruntime_session.has_vnni", lambda: vnni)
    settings_of(tmp_path / "model.onnx").write_text(json.dumps({"largest_weight_code": code}))
    options = session_options(1, tmp_path / "model.onnx")
    asked = True
    try:
        options.get_session_config_entry("session.x64quantprecision")
    except RuntimeError:
        asked = False
    assert asked is exact


def test_a_dead_channel_with_a_bias_is_computed_right(tmp_path):
    model = network(Plain)
    with torch.no_grad():
        for layer in (model.first, model.hidden):
            layer.weight[1] *= 1e-9  # its bias in steps of its products would not fit int32
            layer.weight[2] = 0
            layer.bias[1:3] = 0.7
    model = ship(PTQ().compress(model, task()))
    x = images(5)
    assert np.abs(session("onnxruntime", model, tmp_path).run(x.numpy()) - logits(model, x)).max() <= step_of_logits(
        model, x
    )


def test_a_float_network_runs_in_float_and_pruned_weights_are_said_to_be_multiplied(tmp_path):
    dense, x = ship(network(Residual)), images(4)
    deployed = session("onnxruntime", dense, tmp_path)
    assert np.allclose(deployed.run(x.numpy()), logits(dense, x), rtol=1e-3, atol=1e-4)
    assert deployed.kernels().words() == "fp32 Conv x4, fp32 Gemm x1"
    assert kernels("eager", dense, tmp_path).words() == "fp32 convolution x4, fp32 addmm x1"
    pruned = ship(Prune(sparsity=0.8).compress(network(Residual), task(train)))
    for name in ("eager", "onnxruntime"):
        assert "dense fallback: the 80 % of weights" in kernels(name, pruned, tmp_path).words()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of the compiler's own insides
@pytest.mark.parametrize("name", ["eager", "inductor", "onnxruntime", "openvino"])
def test_rows_of_masks_say_dense_fallback_and_rows_of_fewer_channels_do_not(name, tmp_path):
    if reason := RUNTIMES[name].unavailable("cpu"):
        pytest.skip(reason)
    for pattern in ("unstructured", "2of4", "block"):
        masked = ship(Prune(pattern=pattern, sparsity=0.6).compress(network(Residual), task(train)))
        assert "dense fallback: the" in kernels(name, masked, tmp_path).words()
    pytest.importorskip("torch_pruning")
    cut = ship(Prune(pattern="channels", round_to=1).compress(network(Residual), task(train)))
    words = kernels(name, cut, tmp_path).words()
    assert "dense fallback" not in words
    assert words == kernels(name, ship(network(Residual)), tmp_path).words()


def test_a_quantised_spectral_network_whose_dense_path_is_cheaper_runs_in_float_from_its_codes(tmp_path):
    spectral = DCT(layers="linear").compress(network(Plain), task(train))
    model = ship(PTQ(layers="linear").compress(spectral, task()))
    x = images(4)
    deployed = session("onnxruntime", model, tmp_path)
    assert np.allclose(deployed.run(x.numpy()), logits(model, x), rtol=1e-3, atol=1e-4)
    assert "int8" not in deployed.kernels().words()


def test_eager_says_that_int8_is_simulated(tmp_path):
    model = ship(PTQ().compress(network(Plain), task()))
    assert kernels("eager", model, tmp_path).words() == "fp32 convolution x3, fp32 addmm x2 (int8 simulated)"


@pytest.mark.parametrize("form", [baked, spelled_out])
def test_forms_for_runtimes_leave_the_network_as_it_was(form):
    model, x = ship(PTQ().compress(network(Residual), task())), images(3)
    before, expected = {key: value.clone() for key, value in model.state_dict().items()}, logits(model, x)
    other = form(model)
    with torch.no_grad():
        assert torch.allclose(other(x), torch.from_numpy(expected), atol=1e-5)
    other.to(torch.float64)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert np.array_equal(logits(model, x), expected)


def test_the_deployed_file_holds_int8_codes_not_float_weights(int8, tmp_path):
    model, _ = int8[Residual]
    path = RUNTIMES["onnxruntime"].prepare(model, SHAPE, tmp_path)
    tensors = [one for one in onnx.load(path).graph.initializer if len(one.dims) >= 2]
    assert {one.data_type for one in tensors} == {onnx.TensorProto.INT8}
    assert sum(np.prod(one.dims) for one in tensors) == sum(
        original(layer, "weight").numel() for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    )


def test_openvino_gives_the_simulated_logits_at_every_batch_size_in_turn(tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    model = ship(PTQ().compress(network(Residual), task()))
    deployed = session("openvino", model, tmp_path)
    for count in (1, 5, 2, 2):
        x = images(count, seed=count)
        assert np.abs(deployed.run(x.numpy()) - logits(model, x)).max() <= step_of_logits(model, x)
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a not a graph")
    with pytest.raises(RuntimeFailure, match="openvino refuses the exported network: "):
        RUNTIMES["openvino"].load(None, tmp_path / "model.onnx", threads=1, device="cpu")


def test_a_network_that_cannot_be_exported_is_a_failure_in_one_line(tmp_path):
    class Unbatchable(nn.Module):
        def forward(self, x):
            return x.view(2, 126)  # holds for a batch of two only

    with pytest.raises(RuntimeFailure, match="cannot be exported to ONNX: ") as caught:
        RUNTIMES["onnxruntime"].prepare(trace(Unbatchable()), SHAPE, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_damaged_deployed_file_is_a_failure_in_one_line(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a not a graph")
    with pytest.raises(RuntimeFailure, match="onnxruntime refuses") as caught:
        OnnxSession(path, threads=1, device="cpu")
    assert "\n" not in str(caught.value)


def test_what_is_not_here_is_said(monkeypatch):
    assert RUNTIMES["eager"].unavailable("cpu") is None
    assert RUNTIMES["onnxruntime"].unavailable("cpu") is None
    assert "no device" in RUNTIMES["eager"].unavailable("tpu")
    if "CUDAExecutionProvider" not in __import__("onnxruntime").get_available_providers():
        assert "CUDAExecutionProvider" in RUNTIMES["onnxruntime"].unavailable("cuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "onnx is not installed" in RUNTIMES["onnxruntime"].unavailable("cpu")
    assert "not installed" in RUNTIMES["openvino"].unavailable("cpu")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "compiler" in RUNTIMES["inductor"].unavailable("cpu")


def test_a_deployed_file_runs_without_torch(int8, tmp_path):
    model, deployed = int8[Plain]
    path, x = RUNTIMES["onnxruntime"].prepare(model, SHAPE, tmp_path), images(3).numpy()
    np.save(tmp_path / "x.npy", x)
    program = f"""
import sys, numpy as np
from pathlib import Path
from bench.runtimes import RUNTIMES
session = RUNTIMES["onnxruntime"].load(None, Path({str(path)!r}), threads=1, device="cpu")
np.save({str(tmp_path / "y.npy")!r}, session.run(np.load({str(tmp_path / "x.npy")!r})))
session.kernels()
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=120)
    assert np.array_equal(np.load(tmp_path / "y.npy"), deployed.run(x))


def test_sessions_are_timed_by_turns():
    class Noted(Session):
        def __init__(self, name):
            self.name = name

        def run(self, images):
            order.append(self.name)
            return images

        def kernels(self):
            return Kernels()

    order = []
    seconds = time_by_turns([Noted("a"), Noted("b")], np.zeros((1, 1)), samples=3)
    assert order == ["a", "b"] * (len(order) // 2)
    assert [len(one) for one in seconds] == [3, 3]
    slow, quick = (4.0, 2.0, 3.0), (1.0, 1.0, 9.0)
    assert Timing("f", "r", 1, 1, slow, quick, 0.0).speedup == 3.0


def test_shipped_weights_are_read_by_a_dequantiser():
    """What the forms above rest on."""
    model = ship(PTQ().compress(network(Plain), task()))
    assert sum(isinstance(module, Dequantize) for module in model.modules()) == 4


@pytest.mark.parametrize("basis", [DCT, METHODS["dft"], METHODS["wavelet"]])
@pytest.mark.parametrize("fields", [{"keep": 0.1}, {"keep": 0.2, "shape": "triangle"}])
def test_no_basis_is_formed_in_an_exported_graph(basis, fields, tmp_path):
    """A layer wide enough that one input takes a fast transform keeps no basis; what is exported has to."""
    model = trace(nn.Sequential(nn.Flatten(), nn.Linear(2 * 9 * 7, 1024), nn.ReLU(), nn.Linear(1024, 1024)))
    spectral = ship(basis(**fields).compress(model, task(train)))
    deployed, x = session("onnxruntime", spectral, tmp_path), images(3)
    assert np.abs(deployed.run(x.numpy()) - logits(spectral, x)).max() <= 1e-4
    assert "anew" not in deployed.kernels().words()
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert not kinds & {"Cos", "Sin", "ScatterElements", "Range", "Mod"}


def rms(one, other):
    return np.sqrt(np.square(one - other).mean())


@pytest.mark.skipif(RUNTIMES["openvino"].unavailable("cpu") is not None, reason="no openvino here")
@pytest.mark.parametrize("kind", [Residual, Depthwise])
def test_openvino_rounds_before_it_adds(kind, tmp_path, monkeypatch):
    model, x = ship(PTQ().compress(network(kind), task())), images(64, seed=9)
    kept = session("openvino", model, tmp_path)
    assert rms(kept.run(x.numpy()), logits(model, x)) < 1e-3 * logits(model, x).std()
    monkeypatch.setattr("bench.runtimes.openvino_graph.keep_roundings", lambda path: 0)  # the law can be broken
    left_out = session("openvino", model, tmp_path)
    assert rms(left_out.run(x.numpy()), logits(model, x)) > 3e-3 * logits(model, x).std()
