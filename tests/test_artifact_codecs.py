"""Codecs give back every bit, take no more room than they must, and never trust what they read."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.artifact.codecs import CODECS, Words, smallest
from bench.artifact.codecs.base import plain_bytes
from bench.artifact.codecs.bits import pack, packed_bytes, unpack

DTYPES = [np.dtype(name) for name in ("i1", "u1", "i2", "i4", "i8")]


@st.composite
def words(draw: st.DrawFn) -> Words:
    """Words of any type and density, of few or many different values, extremes included."""
    dtype = draw(st.sampled_from(DTYPES))
    count = draw(st.integers(0, 300))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    limits = np.iinfo(dtype)
    span = draw(st.sampled_from([0, 1, 2, 15, 16, 255, 2**31, 2**64]))
    low = draw(st.sampled_from([limits.min, -1, 0, 1, limits.max - min(span, limits.max)]))
    low = max(low, limits.min)
    values = random.integers(low, min(low + span, limits.max), count, dtype, endpoint=True)
    values[random.random(count) >= draw(st.sampled_from([0.0, 0.01, 0.3, 1.0]))] = 0
    return values


@given(words=words())
@settings(deadline=None, max_examples=300)
def test_every_codec_gives_back_every_bit(words: Words) -> None:
    for codec in CODECS.values():
        code = codec.encode(words, words.shape)
        if code is not None:
            decoded = codec.decode(code, words.dtype, words.shape).words
            assert decoded.dtype == words.dtype
            assert np.array_equal(decoded, words), codec.name
            assert decoded.flags.writeable
    name, code = smallest(words, words.shape)
    assert len(code) <= plain_bytes(words)
    assert np.array_equal(CODECS[name].decode(code, words.dtype, words.shape).words, words)


@given(data=st.binary(max_size=60), dtype=st.sampled_from(DTYPES), count=st.integers(0, 400))
@settings(deadline=None, max_examples=400)
@pytest.mark.parametrize("name", CODECS)
def test_noise_is_refused_or_read_as_that_many_words(name: str, data: bytes, dtype: np.dtype, count: int) -> None:
    try:
        decoded = CODECS[name].decode(data, dtype, (count,)).words
    except ValueError:
        return
    assert decoded.shape == (count,)
    assert decoded.dtype == dtype


@given(width=st.integers(0, 32), count=st.integers(0, 70), seed=st.integers(0, 9))
def test_bits_are_packed_without_gaps(width: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 1 << width, count, dtype=np.uint64)
    data = pack(values, width)
    text = "".join(format(int(value), f"0{width}b") for value in values) if width else ""
    naive = int(text.ljust(packed_bytes(count, width) * 8, "0") or "0", 2).to_bytes(packed_bytes(count, width), "big")
    assert data == naive
    assert np.array_equal(unpack(data, width, count), values)


def test_packing_in_chunks_is_packing_at_once() -> None:
    values = np.random.default_rng(0).integers(0, 8, (1 << 17) + 13, dtype=np.uint8)
    assert np.array_equal(unpack(pack(values, 3), 3, values.size), values)


def sparse(count: int, density: float, dtype: str = "i4") -> Words:
    random = np.random.default_rng(1)
    limits = np.iinfo(dtype)
    values = random.integers(limits.min, limits.max, count, dtype, endpoint=True)
    values[random.random(count) >= density] = 0
    return values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (sparse(4000, 1.0), "raw"),
        (sparse(4000, 0.5), "bitmask"),
        (sparse(4000, 0.03), "gaps"),
        (sparse(4000, 0.5, "i1"), "bitmask"),
        (sparse(4000, 0.03, "i1"), "gaps"),
        (np.arange(-7, 8, dtype="i1").repeat(100), "packed"),
        (np.full(1000, 12345, "i4"), "packed"),
        (np.zeros(0, "i4"), "raw"),
    ],
)
def test_the_smallest_codec_is_taken(values: Words, expected: str) -> None:
    assert smallest(values, values.shape)[0] == expected


@pytest.mark.parametrize("density", [0.3, 0.1, 0.05, 0.01, 0.001])
def test_sparse_codes_are_near_the_entropy_of_the_positions(density: float) -> None:
    values = sparse(200_000, density)
    entropy = -(density * math.log2(density) + (1 - density) * math.log2(1 - density)) * values.size
    positions_bits = 8 * len(smallest(values, values.shape)[1]) - 32 * np.count_nonzero(values)
    assert positions_bits < 1.2 * entropy + 200


def test_huge_gaps_cost_few_bytes() -> None:
    values = np.zeros(5_000_000, "i4")
    values[[0, 3_000_000, 4_999_999]] = [1, -1, 7]
    for name, code in (("gaps", CODECS["gaps"].encode(values, values.shape)), smallest(values, values.shape)):
        assert code is not None
        assert len(code) < (250 if name == "gaps" else 60)
        assert np.array_equal(CODECS[name].decode(code, values.dtype, values.shape).words, values)
    assert name == "range"
