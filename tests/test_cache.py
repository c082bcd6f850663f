"""What training has paid for is found again; what cannot be read counts as missing, and is said once."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from bench.artifact import container
from bench.cache import Stage, StageCache
from bench.records import EpochLog
from tests.artifact_example import IMAGES, network

LOG = EpochLog("dense", 1, 2, 0.1, 0.5, 0.75, 0.7, 3.5, 100)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, told: list[str]) -> StageCache:
    cache = StageCache(tmp_path / "cache", told.append)
    for name in ("a", "b"):
        cache.store(name, Stage(network(), (LOG,), 3.5))
    return cache


def age(path: Path) -> None:
    """Makes the file one of an earlier version."""
    data = path.read_bytes()
    path.write_bytes(data[:4] + struct.pack("<H", container.VERSION - 1) + data[6:])


def test_what_is_stored_is_found(cache: StageCache, told: list[str]) -> None:
    assert cache.has("a")
    found = cache.load("a")
    assert found is not None
    assert (found.training, found.seconds) == ((LOG,), 3.5)
    assert torch.equal(found.model(IMAGES), network().eval()(IMAGES))
    assert not cache.has("c")
    assert cache.load("c") is None
    assert told == []


def test_entries_of_another_version_are_missing_and_said_once(cache: StageCache, told: list[str]) -> None:
    for name in ("a", "b"):
        age(cache.path(name))
        assert not cache.has(name)
    assert [cache.load(name) for name in ("a", "b", "a")] == [None] * 3
    assert len(told) == 1
    assert "another version" in told[0]
    cache.store("a", Stage(network()))
    assert cache.has("a")
    assert cache.load("a") is not None


def test_a_damaged_entry_is_missing_and_said(cache: StageCache, told: list[str]) -> None:
    data = bytearray(cache.path("a").read_bytes())
    data[len(data) // 2] ^= 1
    cache.path("a").write_bytes(data)
    cache.path("b").write_bytes(b"")
    assert [cache.load(name) for name in ("a", "b")] == [None, None]
    assert len(told) == 2
    assert all("damaged" in text for text in told)
