"""AOTInductor packages: simulated logits at any batch size, in int8 kernels, loaded by a process without networks."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from bench.artifact import ship
from bench.runtimes import RUNTIMES, RuntimeFailure
from methods.graph import trace
from methods.quantization import PTQ
from tests.quantization_example import SHAPE, Residual, images, network, task
from tests.test_runtimes import ROOT, logits, step_of_logits

RUNTIME = RUNTIMES["aoti"]
pytestmark = [
    pytest.mark.skipif(RUNTIME.unavailable("cpu") is not None, reason=str(RUNTIME.unavailable("cpu"))),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the compiler's own imports
]


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    """A small residual network, quantised, and its package: compiling is what takes time here."""
    model = ship(PTQ().compress(network(Residual), task()))
    return model, RUNTIME.prepare(model, SHAPE, tmp_path_factory.mktemp("package"))


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_logits_are_those_that_eager_simulates(int8, count):
    model, package = int8
    x = images(count, seed=4)
    deployed = RUNTIME.load(None, package, threads=1, device="cpu")
    assert np.abs(deployed.run(x.numpy()) - logits(model, x)).max() <= step_of_logits(model, x)


def test_convolutions_run_in_int8_and_the_package_says_so(int8):
    assert "int8 qconv_pointwise x4" in RUNTIME.load(None, int8[1], threads=1, device="cpu").kernels().words()


def test_another_process_runs_the_package_alone(int8, tmp_path):
    _, package = int8
    x = images(3).numpy()
    np.save(tmp_path / "x.npy", x)
    program = f"""
import sys, numpy as np
from pathlib import Path
from bench.runtimes import RUNTIMES
session = RUNTIMES["aoti"].load(None, Path({str(package)!r}), threads=1, device="cpu")
np.save({str(tmp_path / "y.npy")!r}, session.run(np.load({str(tmp_path / "x.npy")!r})))
assert "methods.graph" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=120)
    here = RUNTIME.load(None, package, threads=1, device="cpu").run(x)
    assert np.array_equal(np.load(tmp_path / "y.npy"), here)


def test_a_network_that_cannot_be_compiled_is_a_failure_in_one_line(tmp_path):
    class Unbatchable(nn.Module):
        def forward(self, x):
            return x.view(2, 126)  # holds for a batch of two only

    with pytest.raises(RuntimeFailure, match="AOTInductor fails: ") as caught:
        RUNTIME.prepare(trace(Unbatchable()), SHAPE, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_package_that_computes_something_else_is_refused(int8, tmp_path, monkeypatch):
    """As a bug of the compiler would have it."""
    monkeypatch.setattr("bench.runtimes.aoti._compiled", lambda *_, **__: [])
    monkeypatch.setattr("torch._inductor.package.package_aoti", lambda path, _: shutil.copy(int8[1], path))
    other = ship(PTQ().compress(network(Residual, seed=5), task()))
    with pytest.raises(RuntimeFailure, match="AOTInductor's code is wrong for one image: its logits are "):
        RUNTIME.prepare(other, SHAPE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_package_is_a_failure_in_one_line(int8, tmp_path):
    whole = int8[1].read_bytes()
    for index, content in enumerate((b"no package", whole[: len(whole) // 2], whole[:100] + whole[-200:])):
        path = tmp_path / f"{index}.pt2"
        path.write_bytes(content)
        with pytest.raises(RuntimeFailure) as caught:
            RUNTIME.load(None, path, threads=1, device="cpu").run(images(2).numpy())
        assert "\n" not in str(caught.value)


def test_what_is_missing_is_said(monkeypatch):
    assert "processor" in RUNTIME.unavailable("cuda")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "compiler" in RUNTIME.unavailable("cpu")


def test_the_folder_holds_the_package_and_its_facts_alone(int8):
    assert {Path(path).name for path in int8[1].parent.iterdir()} == {"model.pt2", "model.pt2.json"}
