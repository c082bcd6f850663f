"""Exports: what is written is what the artifact predicts, or is not written; mistakes are told in one line."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import run_bench
from bench import artifact
from bench.exporting import FORMATS
from bench.exporting.onnx import OnnxFormat
from bench.exporting.pt2 import IMPORT_FIRST
from bench.runtimes import RuntimeFailure
from methods.base import Task
from methods.graph import trace
from methods.quantization import PTQ
from tests.measure_example import DATA, network, opened, written

ROOT = Path(__file__).parents[1]
FACTS = {"chain": "ptq(all)", "class_names": [f"klass {one} <&>" for one in range(7)]}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own imports


def tiny() -> nn.Module:
    """A quantised network."""
    images = next(opened().batches("train", 64, device="cpu"))[0]
    task = Task(lambda model, *, lr_scale=1.0: pytest.fail("nothing trains here"), lambda count: iter([images]))
    return PTQ().compress(trace(network(3).eval()), task)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A row's file."""
    return written(tmp_path_factory.mktemp("row") / "row.nnc", tiny(), **FACTS)


@pytest.fixture(scope="module")
def exported(file, tmp_path_factory):
    """name of a format -> (the file exported to it, what the command said); each is made once."""
    made = {}

    def export(name):
        if reason := FORMATS[name].unavailable():
            pytest.skip(reason)
        if name not in made:
            folder, said = tmp_path_factory.mktemp(name), io.StringIO()
            with contextlib.redirect_stdout(said):
                assert run_bench.main(["--export", str(file), "--to", name, "--out", str(folder)]) == 0
            made[name] = folder / f"row{FORMATS[name].default_suffix}", said.getvalue()
        return made[name]

    return export


def test_every_format_of_the_issue_is_there():
    assert list(FORMATS) == ["onnx", "openvino", "pt2", "aoti"]
    assert {name: form.name for name, form in FORMATS.items()} == {name: name for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_is_scored_again_and_carries_what_its_user_has_to_know(file, exported, name):
    target, said = exported(name)
    assert f"{name}, reloaded from the file alone: " in said
    assert "100.00 % predicted alike" in said
    for path in target.parent.iterdir():
        assert f"{path.name}: {path.stat().st_size:,} bytes" in said
    facts, stated = FORMATS[name].facts(target), artifact.read_metadata(file)
    for key in ("class_names", "mean", "std", "input_shape", "chain", "classes"):
        assert facts[key] == stated[key]
    assert facts["artifact_sha256"] == artifact.load(file).sha256


@pytest.mark.parametrize("name", ["onnx", "pt2"])
def test_an_exported_file_needs_nothing_of_this_project_and_takes_any_number_of_images(file, exported, tmp_path, name):
    target, _ = exported(name)
    images = torch.cat([images for images, _ in opened().batches("test", 5, device="cpu")])[:9]
    with torch.no_grad():
        expected = artifact.load(file).model(images).numpy()
    np.save(tmp_path / "x.npy", images.numpy())
    run = {
        "onnx": "import onnxruntime; f = lambda x: onnxruntime.InferenceSession(PATH).run(None, {'images': x})[0]",
        "pt2": "import torch, torch.ao.quantization.fx._decomposed\n"
        "m = torch.export.load(PATH).module(); f = lambda x: m(torch.from_numpy(x)).numpy()",
    }[name].replace("PATH", repr(str(target)))
    program = f"import numpy as np\n{run}\nx = np.load('x.npy')\nnp.savez('y.npz', all=f(x), one=f(x[:1]))"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=120)
    found = np.load(tmp_path / "y.npz")
    assert np.abs(found["all"] - expected).max() < 0.03 * expected.std() + 1e-4
    assert np.abs(found["one"] - expected[:1]).max() < 0.03 * expected.std() + 1e-4


def test_reloading_imports_no_method_that_could_lend_the_file_what_it_lacks(exported):
    program = f"""
import sys, numpy as np
from pathlib import Path
from bench.measure.__main__ import answer_to
import bench.exporting.reload
from bench.exporting import FORMATS
FORMATS["pt2"].load(Path({str(exported("pt2")[0])!r}), 1).run(np.zeros((3, 2, 8, 8), np.float32))
assert not [name for name in sys.modules if name.split(".")[0] == "methods"]
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=120)


def test_what_torch_has_to_import_first_is_stated_where_it_is_needed(exported, tmp_path):
    assert FORMATS["pt2"].facts(exported("pt2")[0])[IMPORT_FIRST] == "torch.ao.quantization.fx._decomposed"
    dense = written(tmp_path / "dense.nnc", network(3))
    assert run_bench.main(["--export", str(dense), "--to", "pt2"]) == 0  # beside it
    assert IMPORT_FIRST not in FORMATS["pt2"].facts(tmp_path / "dense.pt2")


# An exporter that is wrong


class Wrong(OnnxFormat):
    """Writes another network than it was given."""

    def write(self, model, facts, path):
        OnnxFormat.write(self, trace(network(3, seed=9).eval()), facts, path)


class Stretched(OnnxFormat):
    """Writes a network whose logits are half as large again: its predictions are right."""

    def write(self, model, facts, path):
        OnnxFormat.write(self, trace(nn.Sequential(model, Times(1.5))), facts, path)


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Garbage(OnnxFormat):
    """Writes no graph at all."""

    def write(self, model, facts, path):
        path.write_bytes(b"no graph")


class OneBatch(OnnxFormat):
    """Writes a graph for batches of two only."""

    def write(self, model, facts, path):
        OnnxFormat.write(self, model, facts, path)
        proto = onnx.load(path)
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
        onnx.save(proto, path)


class Fails(OnnxFormat):
    """Says that it cannot."""

    def write(self, model, facts, path):
        path.write_text("half a file")
        raise RuntimeFailure("no such operator")


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        (Wrong, "fewer than 99.5 % of predictions are the artifact's; the file was removed"),
        (Stretched, "its logits are more than 0.1 standard deviations off; the file was removed"),
        (Garbage, "onnxruntime refuses the exported network"),
        (OneBatch, "not exported: "),
        (Fails, "not exported: no such operator"),
    ],
)
def test_a_wrong_exporter_is_caught_and_leaves_nothing(file, tmp_path, monkeypatch, capsys, planted, says):
    monkeypatch.setitem(FORMATS, "onnx", planted())
    (tmp_path / "row.onnx").write_text("an older export")
    assert run_bench.main(["--export", str(file), "--to", "onnx", "--out", str(tmp_path)]) == 1
    assert says in capsys.readouterr().out.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["row.onnx"]
    assert (tmp_path / "row.onnx").read_text() == "an older export"


class OneSize(OnnxFormat):
    """States that what it writes takes batches of one size."""

    def facts(self, path):
        return {**OnnxFormat.facts(self, path), "batch": 7}


@pytest.mark.parametrize(("form", "told"), [(OneSize(), True), (OnnxFormat(), False)])
def test_a_batch_size_that_is_not_free_is_told(file, tmp_path, monkeypatch, capsys, form, told):
    monkeypatch.setitem(FORMATS, "onnx", form)
    assert run_bench.main(["--export", str(file), "--to", "onnx", "--out", str(tmp_path)]) == 0
    assert ("it takes 7 images at a time" in capsys.readouterr().out) == told


# Mistakes


def mistake(capsys, *arguments) -> str:
    """What is said of a command that cannot be carried out."""
    assert run_bench.main([str(one) for one in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_mistakes_with_the_format(file, tmp_path, capsys):
    assert "unknown format --to onxn: did you mean 'onnx'?" in mistake(capsys, "--export", file, "--to", "onxn")
    assert "add --to with one of onnx, openvino, pt2, aoti" in mistake(capsys, "--export", file)
    assert "--to onnx needs the file that is written in that format: add --export FILE" in mistake(
        capsys, "--to", "onnx"
    )
    assert "add --export FILE" in mistake(capsys, "--evaluate", file, "--to", "onnx")
    out = tmp_path / "row.pt2"
    assert f"--out {out} must end in .onnx for --to onnx" in mistake(
        capsys, "--export", file, "--to", "onnx", "--out", out
    )
    assert "--export does not go with --seeds" in mistake(capsys, "--export", file, "--to", "onnx", "--seeds", "1")


def test_an_absent_library_is_named_with_the_way_to_get_it(file, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openvino" else True)
    said = mistake(capsys, "--export", file, "--to", "openvino")
    assert "the package openvino is not installed: pip install -r requirements-extra.txt" in said
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "C++ compiler" in mistake(capsys, "--export", file, "--to", "aoti")


def test_mistakes_with_the_file(tmp_path, capsys, file):
    assert "there is no such file" in mistake(capsys, "--export", tmp_path / "gone.nnc", "--to", "onnx")
    (tmp_path / "text.nnc").write_text("hello")
    mistake(capsys, "--export", tmp_path / "text.nnc", "--to", "onnx")
    data = bytearray(file.read_bytes())
    data[-50] ^= 4
    (tmp_path / "damaged.nnc").write_bytes(data)
    assert "damaged.nnc" in mistake(capsys, "--export", tmp_path / "damaged.nnc", "--to", "onnx")
    artifact.save(artifact.ship(trace(network(3))), tmp_path / "stage.nnc", {"net": "tiny"})
    assert "not an artifact of a run" in mistake(capsys, "--export", tmp_path / "stage.nnc", "--to", "onnx")


def test_a_missing_data_set_is_told_before_anything_is_written(tmp_path, capsys):
    row = written(tmp_path / "row.nnc", network(3), data={**DATA, "name": "mnist"})
    said = mistake(capsys, "--export", row, "--to", "onnx", "--data-dir", tmp_path / "nowhere")
    assert "MNIST is not in" in said
    assert [path.name for path in tmp_path.iterdir()] == ["row.nnc"]


def test_properties_are_text_that_any_reader_of_onnx_can_take(exported):
    properties = {one.key: one.value for one in onnx.load(exported("onnx")[0]).metadata_props}
    assert json.loads(properties["input_shape"]) == [2, 8, 8]
    assert json.loads(properties["class_names"]) == FACTS["class_names"]
