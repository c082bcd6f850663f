"""Ten thousand damaged files, of every codec: each is refused with one line or read exactly, in bounded memory.

Those whose checksums an attacker has made anew cannot be told from files that were meant: they are refused, or are a
network of the same layers and shapes.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.artifact import ArtifactError, container, load, save, ship, writing
from bench.artifact.codecs import CODECS, Shape, Words, numbers, smallest
from bench.artifact.header import short_crc
from bench.measure.memory import watch
from methods.graph import replace_module
from methods.layers import CONSTRAINTS, Mask, constrain
from methods.layers.spectral import SpectralLinear
from tests.artifact_example import IMAGES, METADATA, FromGrid, Grid, network, taken_since
from tests.test_artifact_damage import BYTES, CODEC, damaged, with_one_change

DAMAGED, FORGED = 1200, 230  # of each codec
MOST_BYTES = 300 << 20  # more than reading any of them may take


def preferring(codec: str) -> Callable[[Words, Shape], tuple[str, bytes]]:
    def chosen(words: Words, shape: Shape) -> tuple[str, bytes]:
        code = CODECS[codec].encode(words, shape)
        return smallest(words, shape) if code is None else (codec, code)

    return chosen


@pytest.fixture(autouse=True)
def _test_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Grid, FromGrid):
        monkeypatch.setitem(CONSTRAINTS, kind.__name__, kind)


@pytest.fixture(params=CODECS)
def written(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of pruned, quantised and spectral layers most of whose tensors are in one codec."""
    model = network()
    for name in ("stem.0", "again"):
        weight = model.get_submodule(name).weight
        constrain(model.get_submodule(name), "weight", Mask.of(torch.rand(weight.shape) < 0.3))
    constrain(model.get_submodule("again"), "weight", Grid(4))
    replace_module(model, "head", SpectralLinear.of(model.get_submodule("head"), 6, 4))
    monkeypatch.setattr(writing, "smallest", preferring(request.param))
    save(ship(model), tmp_path / "a.nnc", METADATA)
    assert request.param in {line.codec for line in load(tmp_path / "a.nnc").ledger}
    return tmp_path / "a.nnc"


@pytest.fixture(autouse=True, scope="module")
def _nothing_runs() -> Iterator[None]:
    """Reading starts no process, connects to nothing and unpickles nothing."""
    watching, seen = [True], []

    def watch(event: str, _: tuple[Any, ...]) -> None:
        if watching and event in {"os.system", "subprocess.Popen", "os.exec", "socket.connect", "pickle.find_class"}:
            seen.append(event)

    sys.addaudithook(watch)  # for good: there is no taking it off
    yield
    watching.clear()
    assert not seen


def outcome(path: Path) -> Any:
    """What reading gives: an artifact, or None where it is refused in one line."""
    try:
        return load(path)
    except ArtifactError as error:
        text = str(error)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    assert len(text) < 500 + len(str(path))
    return None


def test_damaged_files_are_refused_or_read_exactly(written: Path, tmp_path: Path) -> None:
    data, path, watched = written.read_bytes(), tmp_path / "damaged.nnc", watch()
    expected = load(written)
    outputs, read = expected.model(IMAGES), 0
    for number in range(DAMAGED):
        path.write_bytes(damaged(data, number))
        artifact = outcome(path)
        if artifact is not None:
            read += 1
            assert (artifact.metadata, artifact.ledger) == (expected.metadata, expected.ledger), number
            assert torch.equal(artifact.model(IMAGES), outputs), number
    assert read < 0.05 * DAMAGED
    assert taken_since(watched) < MOST_BYTES


def forged(frame: container.Frame, choose: random.Random) -> bytes:
    """A copy with checksums that hold, and something wrong in its header, in a code, or in which code is whose."""
    header = json.loads(frame.header)
    rows, codes, start = header["tensors"], [], 0
    for row in rows:
        codes.append(bytearray(frame.tensors[start : start + row[BYTES]]))
        start += row[BYTES]
    victim = choose.randrange(len(rows))
    match choose.randrange(6):
        case 0:
            header = with_one_change(copy.deepcopy(header), choose)
            return container.frame(json.dumps(header).encode(), [bytes(code) for code in codes])
        case 1:
            for _ in range(choose.choice([1, 1, 3])):
                if codes[victim]:
                    codes[victim][choose.randrange(len(codes[victim]))] ^= 1 << choose.randrange(8)
        case 2:
            codes[victim] = codes[victim][: choose.randrange(len(codes[victim]) + 1)]
        case 3:
            codes[victim], rows[victim][CODEC] = codes[choose.randrange(len(codes))], choose.choice(list(CODECS))
        case 4:
            codes[victim], rows[victim][CODEC] = hostile(choose), choose.choice(list(CODECS))
        case _:
            codes[victim] += choose.randbytes(choose.randint(1, 9))
    for row, code in zip(rows, codes, strict=True):
        row[BYTES], row[6] = len(code), short_crc(bytes(code))
    return container.frame(json.dumps(header).encode(), [bytes(code) for code in codes])


def hostile(choose: random.Random) -> bytearray:
    """A code whose first bytes are numbers that ask for much."""
    few, many = [0, 1, 2, 3, 5, 255, -1, 2047], [2**20, 2**31, 2**40, 2**62, 2**64, -(2**63)]
    head = bytes(choose.choice([0, 1, 2, 3, 255]) for _ in range(choose.randint(0, 2)))
    return bytearray(head + numbers.write(*choose.choices(few + many, k=choose.randint(0, 5))) + choose.randbytes(9))


def test_forged_files_are_refused_or_are_networks_of_those_shapes(written: Path, tmp_path: Path) -> None:
    frame, path, watched = container.read_frame(written), tmp_path / "forged.nnc", watch()
    refused = 0
    for seed in range(FORGED):
        path.write_bytes(forged(frame, random.Random(seed)))
        artifact = outcome(path)
        refused += artifact is None
        if artifact is not None:
            assert sum(line.bytes for line in artifact.ledger) == artifact.file_bytes
            assert all(not tensor.is_meta for tensor in artifact.model.state_dict().values())
    assert refused > 0.4 * FORGED
    assert taken_since(watched) < MOST_BYTES


def test_at_least_ten_thousand_are_tried() -> None:
    assert len(CODECS) * (DAMAGED + FORGED) >= 10_000


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("dtype", ["i1", "i4", "i8"])
def test_reading_takes_little_more_than_the_words(name: str, dtype: str) -> None:
    """A tensor of millions of words, all but a few zero, whose code is short."""
    words = np.zeros(3 << 20, dtype)
    words[:: 1 << 10] = 3
    shape = (3 << 10, 1 << 10)
    code = CODECS[name].encode(words, shape)
    if code is None:
        return
    tracemalloc.start()
    decoded = CODECS[name].decode(code, words.dtype, shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(decoded.words, words)
    assert peak < 4 * words.nbytes + len(code) + (150 << 20)
