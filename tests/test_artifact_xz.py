"""Files in a general compressor's form: read back to the bit, counted to the byte, unpacked to a limit."""

import lzma
import random
import tracemalloc

import pytest
import torch
from torch import nn

from bench import artifact
from bench.artifact import xz
from bench.artifact.container import limit_of
from methods.graph import trace
from tests.contract import network, outputs

ABOUT = {"net": "tiny", "input_shape": [2, 9, 7]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same network as our codes make it, and in .xz form."""
    folder = tmp_path_factory.mktemp("xz")
    model = artifact.ship(network())
    for writing in ("smallest", "xz"):
        artifact.save(model, folder / f"{writing}.nnc", ABOUT, writing)
    return folder / "smallest.nnc", folder / "xz.nnc"


def test_both_forms_hold_the_same_network(files):
    plain, packed = map(artifact.load, files)
    assert torch.equal(outputs(plain.model), outputs(packed.model))
    assert plain.metadata == packed.metadata == artifact.read_metadata(files[1]) == ABOUT
    for one, other in zip(plain.ledger[1:], packed.ledger[1:], strict=True):
        assert (one.layer, one.tensor, one.parameters, one.nonzeros) == (
            other.layer, other.tensor, other.parameters, other.nonzeros,
        )  # fmt: skip


def test_it_is_what_the_command_xz_reads_and_holds_plain_tensors(files):
    data = lzma.decompress(files[1].read_bytes(), format=lzma.FORMAT_XZ)
    weight = artifact.load(files[1]).model.get_submodule("hidden").weight
    assert weight.detach().numpy().astype("<f4").tobytes() in data


def test_every_byte_is_in_the_ledger(files):
    held = artifact.load(files[1])
    assert sum(line.bytes for line in held.ledger) == held.file_bytes == files[1].stat().st_size
    for line in held.ledger:
        spent = (line.values_bytes, line.indices_bytes, line.codebooks_bytes, line.scales_bytes, line.header_bytes)
        assert sum(spent) == line.bytes >= 0


def test_the_same_network_gives_the_same_bytes(files, tmp_path):
    artifact.save(artifact.ship(network()), tmp_path / "again.nnc", ABOUT, "xz")
    assert (tmp_path / "again.nnc").read_bytes() == files[1].read_bytes()


def test_any_damage_is_an_error_and_never_another_network(files, tmp_path):
    data, chance = files[1].read_bytes(), random.Random(3)
    cuts = [data[:count] for count in (0, 3, 6, 12, 100, len(data) // 2, len(data) - 1)]
    flips = []
    for _ in range(40):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        flips.append(bytes(flipped))
    for index, bad in enumerate([*cuts, *flips, data + b"\0", data + data, b"\xfd7zXZ\x00" * 9]):
        path = tmp_path / f"{index}.nnc"
        path.write_bytes(bad)
        with pytest.raises(artifact.ArtifactError) as caught:
            artifact.load(path)
        assert "\n" not in str(caught.value)


def test_what_is_no_artifact_inside_is_an_error(tmp_path):
    path = tmp_path / "letter.nnc"
    path.write_bytes(xz.pack(b"Dear reader, " * 9))
    with pytest.raises(artifact.ArtifactError, match="is no artifact"):
        artifact.load(path)
    path.write_bytes(xz.pack(xz.pack(b"x" * 99)))  # not unpacked twice
    with pytest.raises(artifact.ArtifactError, match="is no artifact"):
        artifact.load(path)


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    path = tmp_path / "bomb.nnc"
    path.write_bytes(lzma.compress(bytes(64 << 20), preset=0))
    assert path.stat().st_size < 20_000
    tracemalloc.start()
    with pytest.raises(artifact.ArtifactError, match="stands for more than"):
        artifact.load(path, max_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
    with pytest.raises(ValueError, match="stands for more than 1000000 bytes"):
        xz.unpack(path.read_bytes(), 1_000_000)
    assert limit_of(path.stat().st_size) == 256 << 20


def test_a_dictionary_beyond_bounds_is_refused():
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 << 20}]
    greedy = lzma.compress(b"a" * 999, lzma.FORMAT_XZ, filters=filters)
    with pytest.raises(ValueError, match=r"its \.xz stream is damaged: Memory usage limit"):
        xz.unpack(greedy, 10**6)


def test_the_limit_counts_a_networks_values_as_for_any_file(files):
    values = sum(tensor.numel() for tensor in artifact.load(files[1]).model.parameters())
    with pytest.raises(artifact.ArtifactError, match="would take more than"):
        artifact.load(files[1], max_bytes=4 * values - 1)


@pytest.mark.parametrize("size", [0, 1, 5, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_unpacking_gives_what_was_packed_at_any_size(size):
    data = random.Random(size).randbytes(min(size, 1000)) * (size // 1000 + 1)
    data = data[:size]
    assert xz.unpack(xz.pack(data), size) == data
    assert xz.beginning(xz.pack(data), 18) == data[:18]
    if size:
        with pytest.raises(ValueError, match="stands for more than"):
            xz.unpack(xz.pack(data), size - 1)


def test_another_version_is_seen_through_the_packing(files, tmp_path):
    inner = bytearray(lzma.decompress(files[1].read_bytes()))
    path = tmp_path / "future.nnc"
    for version, other in ((inner[4], False), (0xFF, True)):
        inner[4] = version
        path.write_bytes(xz.pack(bytes(inner)))
        assert artifact.is_of_another_version(path) is other
    with pytest.raises(artifact.ArtifactError, match="has format version"):
        artifact.load(path)


def test_a_large_network_is_seen_for_its_version_by_its_first_bytes(tmp_path):
    model = trace(nn.Sequential(nn.Flatten(), nn.Linear(300, 300)))
    artifact.save(model, tmp_path / "large.nnc", {}, "xz")
    assert not artifact.is_of_another_version(tmp_path / "large.nnc")


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 1234])
def test_blocks_of_a_large_file_are_streams_that_the_command_reads(size, monkeypatch):
    monkeypatch.setattr(xz, "BLOCK", 4096)  # the least dictionary
    data = random.Random(size).randbytes(41 * size)
    packed = xz.pack(data)
    assert packed.count(xz.MAGIC) == max(1, -(-len(data) // 4096))
    assert lzma.decompress(packed, format=lzma.FORMAT_XZ) == data == xz.unpack(packed, len(data))
    if data:
        with pytest.raises(ValueError, match=f"stands for more than {len(data) - 1} bytes"):
            xz.unpack(packed, len(data) - 1)
        with pytest.raises(ValueError, match=r"cut off|damaged"):
            xz.unpack(packed[:-1], len(data))


def test_streams_that_are_no_whole_block_may_not_be_followed():
    """A file of a million empty streams would cost a copy of the rest for each."""
    empty = xz.pack(b"")
    with pytest.raises(ValueError, match="bytes follow"):
        xz.unpack(empty * 100_000, 10**6)
    with pytest.raises(ValueError, match="bytes follow"):
        xz.unpack(xz.pack(b"x" * 99) + xz.pack(b"x"), 10**6)
