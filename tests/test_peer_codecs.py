"""The study of other codes counts the same integers on all sides."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.artifact import load, save, ship
from bench.deepcabac_worker import smallest
from methods.layers import CONSTRAINTS, constrain
from tests.artifact_example import METADATA, FromGrid, Grid, network

pytest.importorskip("zstandard", reason="zstandard is an extra")
from bench.peer_codecs import compare, main, page, quantised


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for kind in (Grid, FromGrid):
        monkeypatch.setitem(CONSTRAINTS, kind.__name__, kind)
    model = network()
    for name in ("stem.0", "again", "head"):
        constrain(model.get_submodule(name), "weight", Grid(4))
    about = METADATA | {"net": "residual", "dataset": "fake", "label": "grid"}
    save(ship(model), tmp_path / "a.nnc", about)
    return tmp_path / "a.nnc"


def test_all_sides_get_the_codes_of_the_file(file: Path) -> None:
    artifact, found = load(file), compare(file, None)
    assert found is not None
    arrays = quantised(artifact)
    assert found.weights == sum(array.size for array in arrays.values()) == 3 * 8 * 9 + 8 * 4 * 9 + 40
    lines = [line for line in artifact.ledger if line.tensor == "weight" and line.layer in {"stem.0", "again", "head"}]
    assert found.ours == sum(line.bytes for line in lines)
    assert found.entropy < found.packed == sum((array.size * 4 + 7) // 8 for array in arrays.values())
    assert found.deepcabac is None
    assert found.best_peer == min(found.zstd, found.xz)
    assert "| not run |" in page([found], "c")


def test_a_file_without_codes_is_left_out_and_a_wrong_interpreter_is_said(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(network(), tmp_path / "dense.nnc", METADATA)
    assert compare(tmp_path / "dense.nnc", None) is None
    out = ["--out", str(tmp_path / "page.md")]
    for arguments, said in (
        ([str(tmp_path / "dense.nnc")], "none of the files has quantised weights"),
        ([str(file), "--nncodec", sys.executable], "pass a Python that has nncodec installed"),
    ):
        monkeypatch.setattr(sys, "argv", ["peer_codecs", *arguments, *out])
        assert main() == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


class Codec:
    """A coder of one byte a value, that gives back other values in block orders."""

    class HdspMode:
        AlwaysOff = 0

    class Encoder:
        def initCtxModels(self, bins: int, _: int) -> None:
            self.bins = bins

        def encodeLayer(self, values: np.ndarray, _: int, order: int, *__: object) -> None:
            self.code = np.frombuffer(values.astype(np.int8).tobytes() + bytes(self.bins), np.uint8)

        def finish(self) -> np.ndarray:
            return self.code

    class Decoder:
        def setStream(self, code: np.ndarray) -> None:
            self.code = code

        def initCtxModels(self, bins: int) -> None:
            self.bins = bins

        def decodeLayer(self, values: np.ndarray, *_: object) -> None:
            values[:] = self.code[: values.size].view(np.int8).reshape(values.shape)

        def decodeLayerAndCreateEPs(self, *_: object) -> None:
            return


def test_the_smallest_setting_that_decodes_is_counted() -> None:
    values = torch.arange(-6, 6).reshape(3, 4).int().numpy()
    assert smallest(Codec, values) == values.size + 4


def test_a_codec_that_gives_back_other_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Codec.Decoder, "decodeLayer", lambda *_: None)
    with pytest.raises(ValueError, match="other values in every setting"):
        smallest(Codec, np.ones((2, 2), np.int32))
