"""A file that says it holds very much is read in the memory that `load` promises, or refused before any is taken."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.artifact import ArtifactError, container, load, save, writing
from bench.artifact.codecs import CODECS, Codec, Decoded, Shape, numbers
from bench.artifact.header import short_crc
from bench.measure.memory import watch
from methods.graph import trace
from tests.artifact_example import taken_since

DEFAULT = 256 << 20
BEYOND = (16_000, 16_000)  # float32 values that do not fit
LIMIT = 192 << 20  # less, so that tests take less time
MOST = (6144, 8192)  # float32 values that just fit
ONE = b"\1\0\0\0"
PLAIN = b"\0" + numbers.write(0, 0)  # of `range`: no contexts, one symbol
TINY = {  # codes of a few bytes that stand for any number of float32 words
    "raw": (b"", ONE),
    "packed": (b"\0" + ONE,),
    "bitmask": (b"\xff\0" + ONE,),
    "gaps": (b"\1" + bytes(5) + b"\1\0" + ONE, b"\x10" + (1).to_bytes(5, "little") + b"\0\3" + b"\0" + ONE),
    "range": (PLAIN, b"\0" + numbers.write(0, 20), b"\1" + numbers.write(0, 0), b"\1" + numbers.write(7, 500)),
    "split": (b"\0" + numbers.write(0, 1, 1) + b"\0" + numbers.write(0),
              b"\0" + numbers.write(5, 1, 1) + b"\1" + numbers.write(0)),
    "palette": (numbers.write(1, 0) + ONE + PLAIN, numbers.write(1, 0) + ONE + b"\1" + numbers.write(0, 0)),
}  # fmt: skip
CASES = [(codec, index) for codec, codes in TINY.items() for index in range(len(codes))]
CAN_RESET = watch().reset  # where not, peaks are those of the whole process and say nothing


def forged(path: Path, codec: str, code: bytes, shape: tuple[int, int]) -> Path:
    """One linear layer whose configuration, tensor and checksums agree on `shape`."""
    save(trace(nn.Sequential(nn.Linear(3, 5, bias=False))), path, {})
    header: dict[str, Any] = json.loads(container.read_frame(path).header)
    header["layers"][0][2] |= {"out_features": shape[0], "in_features": shape[1]}
    header["tensors"][0][2:] = ["f32", list(shape), codec, len(code), short_crc(code)]
    path.write_bytes(container.frame(json.dumps(header).encode(), [code]))
    return path


def taken(path: Path, limit: int | None = None) -> tuple[int, bool]:
    """The most memory that reading took, and whether the file was read and not refused."""
    watched = watch()
    try:
        load(path, limit)
        read = True
    except ArtifactError:
        read = False
    return taken_since(watched), read


def promised(path: Path, limit: int) -> int:
    return 2 * limit + (300 << 20) + 10 * path.stat().st_size


def test_every_codec_has_tiny_codes() -> None:
    assert TINY.keys() == CODECS.keys()


@pytest.mark.skipif(not CAN_RESET, reason="this system does not set back a process's peak of memory")
@pytest.mark.parametrize(("codec", "index"), CASES)
def test_tiny_codes_of_huge_tensors_keep_the_promise(codec: str, index: int, tmp_path: Path) -> None:
    path, start = forged(tmp_path / "a.nnc", codec, TINY[codec][index], MOST), time.process_time()
    assert path.stat().st_size < 200
    memory, read = taken(path, LIMIT)
    assert memory < promised(path, LIMIT)
    assert read == (codec not in {"raw", "bitmask"})  # whose codes grow with the tensor
    assert time.process_time() - start < 30  # the slowest takes 3


@pytest.mark.skipif(not CAN_RESET, reason="this system does not set back a process's peak of memory")
@pytest.mark.parametrize(("codec", "index"), CASES)
def test_beyond_the_limit_nothing_is_taken(codec: str, index: int, tmp_path: Path) -> None:
    path = forged(tmp_path / "a.nnc", codec, TINY[codec][index], BEYOND)
    memory, read = taken(path)
    assert not read
    assert memory < 20 << 20
    with pytest.raises(ArtifactError, match=f"more than {DEFAULT} bytes of memory"):
        load(path)


@pytest.mark.skipif(not CAN_RESET, reason="this system does not set back a process's peak of memory")
def test_the_promise_holds_for_files_as_large_as_their_tensors(tmp_path: Path) -> None:
    """A dense file, and masks, whose bytes grow with the tensor."""
    save(trace(nn.Sequential(nn.Linear(2000, 5000))), tmp_path / "dense.nnc", {})
    forged(tmp_path / "mask.nnc", "bitmask", bytes(MOST[0] * MOST[1] // 8) + b"\0", MOST)
    for name in ("dense", "mask"):
        path = tmp_path / f"{name}.nnc"
        memory, read = taken(path, LIMIT)
        assert read
        assert memory < promised(path, 0 if name == "dense" else LIMIT)


class Greedy(Codec):
    """Words that are made with three copies more than there is room for."""

    name = "packed"

    def encode(self, words: Any, shape: Shape) -> bytes | None:
        return CODECS["raw"].encode(words, shape)

    def decode(self, data: bytes, dtype: np.dtype[Any], shape: Shape) -> Decoded:
        copies = [np.ones(shape, dtype).reshape(-1) for _ in range(4)]
        return Decoded(copies[0])


@pytest.mark.skipif(not CAN_RESET, reason="this system does not set back a process's peak of memory")
def test_a_codec_that_takes_more_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "packed", Greedy())
    path = forged(tmp_path / "a.nnc", "packed", b"", MOST)
    memory, read = taken(path, LIMIT)
    assert read
    assert memory > promised(path, LIMIT)


@pytest.mark.skipif(not CAN_RESET, reason="this system does not set back a process's peak of memory")
@pytest.mark.parametrize("kind", ["db2", "hadamard", "random"])
def test_bases_that_layers_compute_keep_the_promise(kind: str, tmp_path: Path) -> None:
    """Nearly as large as a tiny file may have them; larger ones are refused before they are made."""
    for size, fits in ((1900, True), (2100, False)):
        path = tmp_path / "a.nnc"
        model = trace(nn.Sequential(nn.Linear(3, 5, bias=False)))
        save(model, path, {})
        header = json.loads(container.read_frame(path).header)
        config = {"in_features": size, "out_features": size, "keep_in": size, "keep_out": size, "bias": False,
                  "basis_kind": kind, "diagonal": 0}  # fmt: skip
        code = b"\0" + ONE
        header["layers"][0][1:] = ["SpectralLinear", config]
        header["tensors"][0] = [["0.coefficients"], header["tensors"][0][1], "f32", [size, size], "packed", len(code),
                                short_crc(code)]  # fmt: skip
        path.write_bytes(container.frame(json.dumps(header).encode(), [code]))
        memory, read = taken(path)
        assert read == fits
        assert memory < (promised(path, DEFAULT) if fits else 20 << 20)


def test_callers_choose_the_limit(tmp_path: Path) -> None:
    path = forged(tmp_path / "a.nnc", "packed", TINY["packed"][0], (1000, 1000))
    assert torch.equal(load(path, 4_000_000).model.get_parameter("0.weight").view(torch.int32).unique(),
                       torch.tensor([1], dtype=torch.int32))  # fmt: skip
    with pytest.raises(ArtifactError, match="more than 3999999 bytes of memory"):
        load(path, max_bytes=3_999_999)


def test_very_sparse_networks_of_the_largest_kind_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """57 million float32 weights, as many as alexnet's, of which one in a thousand is left."""
    with torch.device("meta"):
        layer = nn.Linear(9216, 6200, bias=False)
    weight = torch.zeros(6200, 9216)
    random = torch.Generator().manual_seed(0)
    places = torch.randint(weight.numel(), (57_000,), generator=random)
    weight.view(-1)[places] = torch.randn(57_000, generator=random)
    layer.weight = nn.Parameter(weight)
    monkeypatch.setattr(writing, "smallest", lambda words, shape: ("gaps", CODECS["gaps"].encode(words, shape)))
    save(trace(nn.Sequential(layer)), tmp_path / "a.nnc", {})
    assert (tmp_path / "a.nnc").stat().st_size < 400_000
    assert torch.equal(load(tmp_path / "a.nnc").model.get_parameter("0.weight"), weight)
