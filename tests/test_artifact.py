"""What is written is what is read, bit for bit; what is shipped computes what was trained."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.fx import GraphModule
from torch.nn.utils import parametrize

from bench.artifact import ArtifactError, container, describe, load, read_metadata, save, ship
from bench.artifact.information import entropy_bits
from methods.graph import replace_module, trace
from methods.layers import CONSTRAINTS, ChannelAffine, constrain, constraints, original
from methods.layers.spectral import SpectralLinear
from tests.artifact_example import IMAGES, METADATA, Forgetful, FromGrid, Grid, in_training_form, network


@pytest.fixture(autouse=True)
def _test_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Grid, FromGrid, Forgetful):
        monkeypatch.setitem(CONSTRAINTS, kind.__name__, kind)


def assert_same(read: nn.Module, written: nn.Module) -> None:
    """Equal bits, types and roles under equal names."""
    ours, theirs = written.state_dict(keep_vars=True), read.state_dict(keep_vars=True)
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        assert theirs[name].dtype == tensor.dtype, name
        assert theirs[name].shape == tensor.shape, name
        assert theirs[name].detach().numpy().tobytes() == tensor.detach().contiguous().numpy().tobytes(), name
        assert isinstance(theirs[name], nn.Parameter) == isinstance(tensor, nn.Parameter), name
        assert theirs[name].requires_grad == tensor.requires_grad, name


@pytest.mark.parametrize("form", ["dense", "training", "shipped", "shipped dense", "half"])
def test_a_network_comes_back_bit_for_bit(form: str, tmp_path: Path) -> None:
    model = network() if form in {"dense", "shipped dense", "half"} else in_training_form()
    model = ship(model) if form.startswith("shipped") else model.half() if form == "half" else model
    images = IMAGES.half() if form == "half" else IMAGES
    path = tmp_path / "new" / "a.nnc"
    save(model, path, METADATA)
    torch.manual_seed(5)
    expected_random = torch.random.get_rng_state()
    artifact = load(path)
    assert torch.equal(torch.random.get_rng_state(), expected_random)
    assert not artifact.model.training
    assert torch.equal(artifact.model(images), model.eval()(images))
    assert_same(artifact.model, model)
    assert artifact.metadata == METADATA == read_metadata(path)
    assert artifact.file_bytes == path.stat().st_size == sum(line.bytes for line in artifact.ledger)
    save(artifact.model, tmp_path / "again.nnc", METADATA)
    assert (tmp_path / "again.nnc").read_bytes() == path.read_bytes()


def test_the_same_network_and_metadata_give_the_same_bytes(tmp_path: Path) -> None:
    save(in_training_form(), tmp_path / "a", METADATA)
    save(copy.deepcopy(in_training_form()), tmp_path / "b", dict(reversed(METADATA.items())))
    save(in_training_form(), tmp_path / "c", METADATA | {"classes": 6})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    assert load(tmp_path / "a").sha256 == load(tmp_path / "b").sha256


def test_a_fresh_process_gets_the_same_outputs(tmp_path: Path) -> None:
    model = network()
    replace_module(model, "head", SpectralLinear.of(model.get_submodule("head"), 6, 4))
    save(ship(model), tmp_path / "a.nnc", METADATA)
    np.save(tmp_path / "images.npy", IMAGES.numpy())
    code = ("import sys, pathlib, numpy, torch; from bench.artifact import load; torch.set_num_threads(1); "
            "folder = pathlib.Path(sys.argv[1]); images = torch.from_numpy(numpy.load(folder / 'images.npy')); "
            "numpy.save(folder / 'out.npy', load(folder / 'a.nnc').model(images).detach().numpy())")  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, cwd=tmp_path)
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "out.npy")), ship(model)(IMAGES), rtol=0, atol=1e-6)


def test_tied_and_shared_tensors_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    save(network(), tmp_path / "a.nnc", {})
    artifact = load(tmp_path / "a.nnc")
    read = artifact.model
    assert read.get_submodule("left").weight is read.get_submodule("right").weight
    assert [line.tensor for line in artifact.ledger if line.layer in {"left", "right"}] == ["bias", "weight", "bias"]
    assert sum(line.parameters for line in artifact.ledger) == sum(p.numel() for p in network().parameters())


def test_a_layer_at_two_paths_is_stored_once(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model = trace(net)
    replace_module(model, "2", model.get_submodule("0"))
    save(model, tmp_path / "a.nnc", {})
    read = load(tmp_path / "a.nnc").model
    assert read.get_submodule("2") is read.get_submodule("0")
    x = torch.randn(2, 4)
    assert torch.equal(read(x), model(x))


def awkward_tensors() -> dict[str, Tensor]:
    nans = torch.tensor([0x7FC00001, 0x7F800001, -0x3FFFFF, 0, -(2**31), 1], dtype=torch.int32).view(torch.float32)
    return {
        "empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5), "one": torch.tensor([[-1.5]]),
        "zeros": torch.zeros(3, 5, 7), "negative_zeros": -torch.zeros(1000), "ones": torch.ones(17),
        "special": torch.cat([nans, torch.tensor([float("inf"), -float("inf"), 1e-45, -0.0])]),
        "sparse_special": torch.cat([torch.zeros(5000), nans]), "odd": torch.randn(31, 1, 3),
        "transposed": torch.randn(4, 6).T, "strided": torch.randn(20)[::3], "expanded": torch.randn(3, 1).expand(3, 4),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half": torch.randn(33).half(), "bfloat": torch.randn(7, 5).bfloat16(), "double": torch.randn(9).double(),
        "mask": torch.rand(3, 43) < 0.5, "true": torch.ones(5, dtype=torch.bool), "empty_mask": torch.rand(0) > 0,
        "int8": torch.arange(-128, 128).to(torch.int8), "int4": torch.randint(-7, 8, (99,)).to(torch.int8),
        "uint8": torch.arange(256).to(torch.uint8), "int16": torch.tensor([-(2**15), 2**15 - 1]).short(),
        "int32": torch.tensor([-(2**31), 2**31 - 1]).int(), "int64": torch.tensor([-(2**63), 2**63 - 1, 0]),
        "gap": torch.cat([torch.ones(1), torch.zeros(300_000), torch.ones(1)]),
    }  # fmt: skip


def awkward_network() -> GraphModule:
    """Gives back the awkward tensors whatever goes in."""
    tensors, root, graph = awkward_tensors(), nn.Module(), fx.Graph()
    graph.placeholder("x")
    for name, tensor in tensors.items():
        root.register_buffer(f"{name}_tensor", tensor)
    graph.output(tuple(graph.get_attr(f"{name}_tensor") for name in tensors))
    return GraphModule(root, graph)


def test_awkward_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = awkward_tensors()
    torch.manual_seed(0)
    save(awkward_network(), tmp_path / "a.nnc", {})
    artifact = load(tmp_path / "a.nnc")
    for (name, tensor), read in zip(tensors.items(), artifact.model(None), strict=True):
        assert (read.shape, read.dtype) == (tensor.shape, tensor.dtype), name
        bits = tensor.contiguous().reshape(-1).view(torch.uint8), read.reshape(-1).view(torch.uint8)
        assert torch.equal(*bits), name
    lines = {line.tensor.removesuffix("_tensor"): line for line in artifact.ledger}
    assert sum(line.bytes for line in artifact.ledger) == artifact.file_bytes
    assert lines["gap"].codec == lines["sparse_special"].codec == "gaps"
    assert lines["int4"].codec == lines["mask"].codec == "packed"
    assert {line.parameters for line in artifact.ledger} == {0}


@pytest.mark.parametrize("seed", range(3))
def test_shipping_keeps_the_outputs(seed: int) -> None:
    model = in_training_form() if seed == 0 else network(seed)
    before, expected = copy.deepcopy(model.state_dict()), model.eval()(IMAGES)
    shipped = ship(model.train())
    torch.testing.assert_close(shipped(IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    kinds = {type(module) for module in shipped.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.Dropout}
    assert ChannelAffine in kinds
    once = shipped.state_dict()
    assert all(torch.equal(value, once[name]) for name, value in ship(shipped).state_dict().items())


def test_shipped_codes_are_int8_and_hold_the_masks_zeros(tmp_path: Path) -> None:
    model = in_training_form()
    keep = constraints(model.get_submodule("head"), "weight")[0].keep
    shipped = ship(model)
    codes = original(shipped.get_submodule("head"), "weight")
    assert codes.dtype == torch.int8
    assert not codes.requires_grad
    assert [type(one) for one in constraints(shipped.get_submodule("head"), "weight")] == [FromGrid]
    assert not codes[~keep].any()
    assert not parametrize.is_parametrized(shipped.get_submodule("stem.0"))
    save(shipped, tmp_path / "a.nnc", {})
    lines = {(line.layer, line.tensor): line for line in load(tmp_path / "a.nnc").ledger}
    assert lines["head", "weight"].parameters == 40
    assert lines["head", "weight"].nonzeros == int(codes.count_nonzero())
    assert lines["head", "weight.0.step"].parameters == 0


def test_a_shipped_form_that_reads_back_otherwise_is_refused(tmp_path: Path) -> None:
    model = network()
    constrain(model.get_submodule("head"), "weight", Forgetful(3))
    with pytest.raises(ValueError, match=r"head\.weight does not read back"):
        ship(model)


PARTS = ("values_bytes", "indices_bytes", "codebooks_bytes", "scales_bytes", "header_bytes")


@pytest.mark.parametrize("form", ["training", "shipped", "awkward"])
def test_parts_of_the_ledger_sum_to_its_bytes_and_these_to_the_file(form: str, tmp_path: Path) -> None:
    model = awkward_network() if form == "awkward" else in_training_form()
    save(ship(model) if form == "shipped" else model, tmp_path / "a.nnc", METADATA)
    artifact = load(tmp_path / "a.nnc")
    for line in artifact.ledger:
        parts = [getattr(line, part) for part in PARTS]
        assert sum(parts) == line.bytes, line
        assert min(parts) >= 0
    assert sum(line.bytes for line in artifact.ledger) == (tmp_path / "a.nnc").stat().st_size
    assert artifact.ledger[0].header_bytes == artifact.ledger[0].bytes > 0
    assert (artifact.ledger[0].codec, artifact.ledger[0].information_bits) == ("deflate", 0.0)
    spent = {part: sum(getattr(line, part) for line in artifact.ledger) for part in PARTS}
    assert spent["values_bytes"] > 0
    assert (spent["scales_bytes"] > 0) == (form == "shipped")
    assert spent["indices_bytes"] > 0  # of a mask, or of the weights that hold its zeros
    assert spent["codebooks_bytes"] == 0


def test_information_is_the_entropy_of_the_values() -> None:
    assert entropy_bits(np.zeros(1000, "i4")) == 0
    assert entropy_bits(np.zeros(0, "i4")) == 0
    assert entropy_bits(np.arange(256, dtype="u1").repeat(3).view("i1")) == pytest.approx(768 * 8)
    values = np.array([0] * 90 + [5] * 10, "i8")
    assert entropy_bits(values) == pytest.approx(100 * 0.4689956)
    many = np.random.default_rng(0).integers(0, 300_000, 700_001, "i4")  # more than is counted at a time
    many[-400_000:] = 7
    counts = np.unique(many, return_counts=True)[1]
    assert entropy_bits(many) == pytest.approx(float((counts * np.log2(many.size / counts)).sum()))


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_write_that_fails_leaves_what_was_there(
    failing: str, existed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nnc"
    if existed:
        save(network(1), path, {})
    before = path.read_bytes() if existed else None

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "write":
        opened = Path.open
        monkeypatch.setattr(Path, "open", lambda self, mode: FullDisk(opened(self, mode)))
    else:
        monkeypatch.setattr(container.os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        save(network(2), path, {})
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == (["a.nnc"] if existed else [])
    assert not existed or path.read_bytes() == before


class FullDisk:
    """A file that takes 100 bytes and no more."""

    def __init__(self, file) -> None:
        self.file = file

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[:100])
        raise OSError(28, "No space left on device")


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    wider = network()
    wider.get_submodule("head").weight = nn.Parameter(torch.randn(5, 9))
    foreign = network()
    parametrize.register_parametrization(foreign.get_submodule("head"), "weight", nn.Identity())
    for model, reason in ((wider, r"layer head .* cannot be written"), (foreign, "constraint Identity")):
        with pytest.raises(ValueError, match=reason):
            save(model, tmp_path / "a.nnc", {})
    assert not list(tmp_path.iterdir())


def test_the_description_names_what_matters(tmp_path: Path) -> None:
    save(ship(in_training_form()), tmp_path / "a.nnc", METADATA)
    text = describe(tmp_path / "a.nnc")
    for expected in ("net: residual", f"{(tmp_path / 'a.nnc').stat().st_size:,} bytes", "head.weight", "sha256"):
        assert expected in text


def test_missing_files_and_folders_are_usage_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.nnc", tmp_path):
        for read in (load, read_metadata):
            with pytest.raises(ArtifactError, match="cannot be read"):
                read(path)
