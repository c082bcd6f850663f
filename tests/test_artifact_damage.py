"""A damaged file is refused or read exactly; a hostile one is refused, runs nothing and takes no memory to speak of."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from baselines.errors import UsageError
from bench.artifact import ArtifactError, container, load, read_metadata, save, ship
from bench.artifact.codecs import CODECS
from bench.artifact.dictionary import DICTIONARY
from bench.artifact.header import short_crc
from bench.measure.memory import watch
from methods.graph import replace_module, trace
from methods.layers import Mask, constrain
from methods.layers.spectral import SpectralLinear
from tests.artifact_example import IMAGES, METADATA, network, taken_since

COPIES = 1000
STRANGE: list[Any] = [None, True, -1, 0, 1.5, 2**63, 10**30, "", "x", "\n", [], [[]], {}, {"node": "x"}, float("nan")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = network()
    layer = model.get_submodule("stem.0")
    constrain(layer, "weight", Mask.of(torch.rand(layer.weight.shape) < 0.2))
    replace_module(model, "head", SpectralLinear.of(model.get_submodule("head"), 6, 4))
    path = tmp_path_factory.mktemp("artifact") / "a.nnc"
    save(ship(model), path, METADATA)
    assert path.stat().st_size < 20_000
    return path


def damaged(data: bytes, number: int) -> bytes:
    """The number-th damaged copy: flipped bits, a cut, swapped blocks, a zeroed or repeated region, bytes added."""
    choose = random.Random(number)
    at, length = choose.randrange(len(data)), choose.randint(1, 64)
    other = choose.randrange(len(data))
    match number % 7:
        case 0 | 1:
            copy = bytearray(data)
            for _ in range(choose.choice([1, 1, 2, 30])):
                copy[choose.randrange(len(copy))] ^= 1 << choose.randrange(8)
            return bytes(copy)
        case 2:
            return data[:at]
        case 3:
            low, high = sorted((at, other))
            high = max(high, low + length)
            blocks = data[low : low + length], data[high : high + length]
            return data[:low] + blocks[1] + data[low + length : high] + blocks[0] + data[high + length :]
        case 4:
            return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]
        case 5:
            return data[:at] + data[at : at + length] + data[at:]
        case _:
            return data + choose.randbytes(length)


def test_a_thousand_damaged_copies_are_refused_or_read_exactly(written: Path, tmp_path: Path) -> None:
    data, path = written.read_bytes(), tmp_path / "damaged.nnc"
    expected, outputs = load(written), load(written).model(IMAGES)
    refusals = []
    for number in range(COPIES):
        changed = damaged(data, number)
        path.write_bytes(changed)
        try:
            artifact = load(path)
        except ArtifactError as error:
            refusals.append(str(error))
        else:
            assert (artifact.metadata, artifact.ledger) == (expected.metadata, expected.ledger), number
            assert torch.equal(artifact.model(IMAGES), outputs), number
        try:
            assert read_metadata(path) == METADATA
        except ArtifactError:
            assert changed != data
    assert len(refusals) > 0.95 * COPIES
    assert all(str(path) in text and len(text.splitlines()) == 1 for text in refusals)


def test_every_single_flipped_byte_of_the_frame_is_found(written: Path, tmp_path: Path) -> None:
    data, path = written.read_bytes(), tmp_path / "damaged.nnc"
    for at in [*range(40), *range(len(data) - 20, len(data))]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        with pytest.raises(ArtifactError):
            load(path)


def test_errors_say_what_was_found_and_expected(written: Path, tmp_path: Path) -> None:
    data, path = written.read_bytes(), tmp_path / "a.nnc"
    tensor_start = 18 + struct.unpack_from("<I", data, 6)[0]
    for changed, reason in (
        (data[:4] + struct.pack("<H", 7) + data[6:], "format version 7, this version reads 3"),
        (b"PK\x03\x04" + data[4:], "is no artifact"),
        (b"", "is no artifact"),
        (data[:30], "truncated"),
        (data[:-30], "truncated or extended"),
        (data[: tensor_start + 9] + b"\xaa\xbb\xcc" + data[tensor_start + 12 :], "tensor stem.0.bias is damaged"),
        (data[:-1] + bytes([data[-1] ^ 1]), "checksum does not match"),
    ):
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match=reason):
            load(path)
    assert issubclass(ArtifactError, UsageError)


def header_of(frame: container.Frame) -> dict[str, Any]:
    """The header with every node of its graph written out."""
    header, before = json.loads(frame.header), ""
    for index, row in enumerate(header["graph"]):
        if isinstance(row, str):
            header["graph"][index] = [1, row.replace(".", "_"), row, [{"node": before}]]
        before = header["graph"][index][1]
    return header


def forge(written: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Writes a copy whose header `change` has changed, with checksums that hold."""
    frame = container.read_frame(written)
    header = header_of(frame)
    changed = change(header)
    header = header if changed is None else changed
    path.write_bytes(container.frame(json.dumps(header).encode(), [bytes(frame.tensors)]))


def test_a_forged_file_that_changes_nothing_is_read(written: Path, tmp_path: Path) -> None:
    forge(written, tmp_path / "a.nnc", lambda header: None)
    assert load(tmp_path / "a.nnc").metadata == METADATA


def put(part: str, row: int, field: int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        header[part][row][field] = value

    return change


def add(part: str, row: list[Any]) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[part].append(row)


def huge_spectral(header: dict[str, Any]) -> None:
    """A layer whose stored tensors are few and whose bases would take terabytes."""
    row = next(row for row in header["layers"] if row[0] == "head")
    row[2] |= {"in_features": 2**21, "keep_in": 2**20, "basis_kind": "db2"}  # which has no fast transform
    tensor = next(row for row in header["tensors"] if row[0] == ["head.coefficients"])
    tensor[3] = [4, 2**20]


def huge_triangle(header: dict[str, Any]) -> None:
    row = next(row for row in header["layers"] if row[0] == "head")
    row[2] |= {"in_features": 2**61, "keep_in": 2**60, "out_features": 2**61, "keep_out": 2**60, "diagonal": 2**59}


def shift(tensors: list[list[Any]]) -> None:
    tensors[0][BYTES] += 1
    tensors[1][BYTES] -= 1


def drop(tensors: list[list[Any]], name: str) -> None:
    """Takes the only name off the tensor; its bytes stay."""
    row = next(row for row in tensors if row[NAMES] == [name])
    row[NAMES] = ["nothing"]


def constrained_by(tensor: str, kind: str, config: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["layers"][0].append([[tensor, kind, config]])


NAMES, ROLE, DTYPE, SHAPE, CODEC, BYTES = range(6)
HUGE = [2**20, 2**20]
EVIL_NODE = [2, "y", "os.system", ["true"]]
ACTIVATION = 1  # the row of a layer without tensors
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {  # what is forged, what the refusal says
    "huge shape": (put("tensors", 1, SHAPE, HUGE), "more than .* bytes of memory"),
    "shape beyond integers": (put("tensors", 1, SHAPE, [2**62, 2**62, 2**62]), "more than .* bytes of memory"),
    "other shape": (put("tensors", 0, SHAPE, [4, 2]), r"has the shape \[4, 2\], its layer \[8\]"),
    "negative shape": (put("tensors", 0, SHAPE, [-8]), "has the shape"),
    "fractional shape": (put("tensors", 0, SHAPE, [8.0]), "has the shape"),
    "shape of many axes": (put("tensors", 0, SHAPE, [1] * 1000), "has the shape"),
    "negative size": (put("tensors", 0, BYTES, -4), "malformed"),
    "size beyond the file": (put("tensors", 0, BYTES, 2**40), "truncated or extended"),
    "overlapping sizes": (put("tensors", 0, BYTES, 33), "truncated or extended"),
    "shifted tensors": (lambda header: shift(header["tensors"]), r"tensor stem\.0\.bias is damaged"),
    "unknown codec": (put("tensors", 0, CODEC, "pickle"), "unknown codec 'pickle'"),
    "other codec": (put("tensors", 0, CODEC, "gaps"), "gap width"),
    "unknown type": (put("tensors", 0, DTYPE, "object"), "unknown tensor type 'object'"),
    "other type": (put("tensors", 0, DTYPE, "i32"), "is of type torch.int32, its layer takes torch.float32"),
    "type of another size": (put("tensors", 0, DTYPE, "f16"), "8 words of 2 bytes cannot be 32 bytes"),
    "unknown role": (put("tensors", 0, ROLE, 7), "malformed"),
    "role of a buffer": (put("tensors", 0, ROLE, 0), "is a buffer tensor"),
    "no name": (put("tensors", 0, NAMES, []), "no name"),
    "name of another tensor": (put("tensors", 0, NAMES, ["stem.0.weight"]), "stored twice"),
    "name of no tensor": (put("tensors", 0, NAMES, ["stem.0.weird"]), "is missing"),
    "name through a layer": (put("tensors", 0, NAMES, ["stem.0.bias", "stem.0.weight.x"]), "no layer has the tensor"),
    "free tensor": (put("tensors", 0, NAMES, ["stem.0.bias", "free"]), "read by nothing"),
    "missing tensor": (lambda header: drop(header["tensors"], "head.bias"), r"head\.bias is missing"),
    "huge layer": (put("layers", 0, 2, {"in_channels": 2**20, "out_channels": 2**20, "kernel_size": 1}), "of memory"),
    "layer beyond integers": (
        put("layers", 0, 2, {"in_channels": 2**62, "out_channels": 2**62, "kernel_size": 3}), "cannot be made"),
    "huge basis": (huge_spectral, "layers would take more than"),
    "huge triangle": (huge_triangle, "sides of at most"),
    "unknown layer": (put("layers", 0, 1, "Sequential"), "unknown layer"),
    "layer of a private kind": (put("layers", 0, 1, "__class__"), "unknown layer"),
    "layer without configuration": (put("layers", 0, 2, None), "expected a configuration"),
    "layer on a device": (put("layers", 1, 2, {"device": "cuda"}), "sets device, which files may not"),
    "layer with a strange argument": (put("layers", ACTIVATION, 2, {"evil": 1}), "cannot be made"),
    "layer at no path": (put("layers", ACTIVATION, 0, ""), "bad path"),
    "layer at a strange path": (put("layers", ACTIVATION, 0, 'a"), exit(), ("a'), "bad path"),
    "layer at a method": (put("layers", ACTIVATION, 0, "forward"), "taken"),
    "layer at a method of networks": (put("layers", ACTIVATION, 0, "to_folder"), "no module 'activation'"),
    "layer twice": (lambda header: header["layers"].append(header["layers"][ACTIVATION]), "taken"),
    "layer in a layer": (add("layers", ["stem.0.inner", "ReLU", {}]), "leads through a layer"),
    "layer that is not called": (add("layers", ["idle", "ReLU", {}]), "does not call the layers"),
    "layer the same as none": (add("layers", ["twin", "nothing"]), "the same as one that is not there"),
    "unknown constraint": (constrained_by("weight", "Evil", {}), "unknown constraint"),
    "constraint on no tensor": (constrained_by("forward", "Mask", {"shape": [1]}), "has no tensor 'forward'"),
    "huge constraint": (constrained_by("weight", "Mask", {"shape": HUGE}), "layers would take more than"),
    "hostile node": (lambda header: header["graph"].insert(1, EVIL_NODE), r"unknown function 'os\.system'"),
    "node of an unknown operation": (put("graph", 1, 0, 9), "unknown operation"),
    "node without arguments": (put("graph", 1, 3, None), "malformed arguments"),
    "empty graph": (lambda header: header["graph"].clear(), "output"),
    "metadata that is no mapping": (lambda header: header | {"metadata": []}, "metadata is no mapping"),
    "more parts": (lambda header: header | {"code": ""}, "parts are not those"),
    "no mapping": (lambda header: [header], "parts are not those"),
    "tables that are none": (lambda header: header | {"tensors": {}}, "table of the header"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused_in_bounded_memory(case: str, written: Path, tmp_path: Path) -> None:
    path, watched = tmp_path / "hostile.nnc", watch()
    change, reason = HOSTILE[case]
    forge(written, path, change)
    with pytest.raises(ArtifactError, match=reason) as refusal:
        load(path)
    assert len(str(refusal.value)) < 500 + len(str(path))
    assert taken_since(watched) < 200 << 20


def bomb(header: bytes, stated: int) -> bytes:
    stored = container.deflate(header)
    prelude = struct.pack("<4sHIII", container.MAGIC, container.VERSION, len(stored), stated, zlib.crc32(stored))
    return prelude + stored + container._checksum(prelude + stored)


@pytest.mark.parametrize("stated", [0, 10, container.MAX_HEADER_BYTES, 2**32 - 1])
def test_a_header_that_unpacks_to_more_than_it_states_is_refused(stated: int, tmp_path: Path) -> None:
    path, watched = tmp_path / "bomb.nnc", watch()
    path.write_bytes(bomb(bytes(50 << 20), stated))
    for read in (load, read_metadata):
        with pytest.raises(ArtifactError):
            read(path)
    assert taken_since(watched) < 100 << 20


@pytest.mark.parametrize("header", [b"", b"{", b"\xff\xfe", b"1" * 5000, b"[" * 100_000, b'{"metadata":' * 50_000])
def test_a_header_that_is_no_json_is_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.nnc"
    path.write_bytes(bomb(header, len(header)))
    for read in (load, read_metadata):
        with pytest.raises(ArtifactError):
            read(path)


def test_random_changes_to_the_header_give_an_artifact_or_its_error(written: Path, tmp_path: Path) -> None:
    path, header = tmp_path / "a.nnc", header_of(container.read_frame(written))
    refused = 0
    for seed in range(300):
        forge(written, path, lambda _, seed=seed: with_one_change(copy.deepcopy(header), random.Random(seed)))
        try:
            load(path)
        except ArtifactError:
            refused += 1
    assert refused > 0


def with_one_change(header: Any, choose: random.Random) -> Any:
    """One value, anywhere in the header, replaced by a strange one or by another of its neighbours."""
    holder: Any = header
    while True:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = choose.choice(list(keys))
        if not isinstance(holder[key], list | dict) or not holder[key] or choose.random() < 0.1:
            neighbour = holder[choose.choice(list(keys))]
            holder[key] = choose.choice([*STRANGE, neighbour])
            return header
        holder = holder[key]


@pytest.mark.parametrize("codec", CODECS)
def test_codes_with_checksums_that_hold_are_still_checked(codec: str, tmp_path: Path) -> None:
    """Noise under any codec's name is refused, or is as many numbers as the layer has."""
    model = trace(nn.Sequential(nn.Linear(30, 40)))
    save(model, tmp_path / "a.nnc", {})
    frame = container.read_frame(tmp_path / "a.nnc")
    for seed in range(50):
        noise, header = random.Random(seed).randbytes(seed), json.loads(frame.header)
        for row in header["tensors"]:
            row[CODEC], row[BYTES], row[6] = codec, len(noise), short_crc(noise)
        path = tmp_path / "noise.nnc"
        path.write_bytes(container.frame(json.dumps(header).encode(), [noise, noise]))
        try:
            assert load(path).model(torch.zeros(1, 30)).shape == (1, 40)
        except ArtifactError:
            continue


def test_the_dictionary_of_headers_is_part_of_the_version() -> None:
    """A file of another version cannot be unpacked: a change of the text needs a new version."""
    known = {3: "82846d54b9488d98"}
    assert hashlib.sha256(DICTIONARY).hexdigest()[:16] == known[container.VERSION]
