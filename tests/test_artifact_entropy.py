"""Entropy codes come near the entropy, use what rows, columns and kernels say, and read alike everywhere."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.artifact.codecs import CODECS, Words, numbers, smallest
from bench.artifact.codecs.coder import Reader, Writer
from bench.artifact.codecs.model import Model, bins
from bench.artifact.codecs.passes import Alphabet, Layout, run
from bench.artifact.information import entropy_bits, information_bits

Shape = tuple[int, ...]


def codes(shape: Shape, spread: float, sparsity: float = 0.0, seed: int = 0) -> Words:
    """Int8 codes like those of a trained layer: bell-shaped, some of them pruned."""
    random = np.random.default_rng(seed)
    values = np.clip(np.round(random.standard_normal(shape) * spread), -127, 127).astype(np.int8)
    values[random.random(shape) < sparsity] = 0
    return values.reshape(-1)


def uneven(shape: Shape, dtype: str = "i1") -> Words:
    """Pruned codes most of which are in a few rows and columns."""
    random = np.random.default_rng(1)
    rows, columns = random.random(shape[0]) ** 4, random.random(shape[1]) ** 4
    density = np.multiply.outer(rows, columns).reshape(*shape[:2], *[1] * (len(shape) - 2))
    values = random.integers(-127, 128, shape)
    return np.where(random.random(shape) < density, values, 0).astype(dtype).reshape(-1)


def smooth(shape: Shape) -> Words:
    """Codes of kernels in which neighbours are alike."""
    random = np.random.default_rng(2)
    noise = random.standard_normal(shape)
    for axis in (2, 3):
        noise = noise + np.roll(noise, 1, axis)
    return np.clip(np.round(noise * 2), -7, 7).astype(np.int8).reshape(-1)


SHAPES = [
    (),
    (1,),
    (7,),
    (1, 1),
    (5, 3),
    (3, 0),
    (0, 3),
    (1, 40),
    (40, 1),
    (6, 5, 3),
    (4, 3, 3, 2),
    (2, 3, 1, 5),
    (3, 18),
]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Words, Shape]:
    """Tensors of awkward shapes: integers of any type, few or many different, some mostly zero."""
    shape = draw(st.sampled_from(SHAPES))
    dtype = np.dtype(draw(st.sampled_from(["i1", "u1", "i2", "i4", "i8"])))
    limits, random = np.iinfo(dtype), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = draw(st.sampled_from([0, 1, -1, -8, limits.min, limits.max - 3, limits.max]))
    low = max(low, limits.min)
    high = min(low + draw(st.sampled_from([0, 1, 15, 255, 4000, 2**40])), limits.max)
    values = random.integers(low, high, math.prod(shape), dtype, endpoint=True)
    if draw(st.booleans()):
        values[random.random(values.size) < 0.8] = 0
    return values, shape


@given(tensor=tensors())
@settings(deadline=None, max_examples=300)
def test_tensors_of_every_shape_come_back_bit_for_bit(tensor: tuple[Words, Shape]) -> None:
    words, shape = tensor
    for name in ("range", "split", "palette"):
        code = CODECS[name].encode(words, shape)
        if code is None:
            continue
        decoded = CODECS[name].decode(code, words.dtype, shape)
        assert np.array_equal(decoded.words, words)
        assert decoded.words.dtype == words.dtype
        assert min(decoded.indices, decoded.tables, len(code) - decoded.indices - decoded.tables) >= 0


LAYOUTS = [Layout(24, 5, 6, 3, lines, kernel) for lines in (False, True) for kernel in (False, True)] + [
    Layout(24, 30, lines=True),
    Layout(1, 720, lines=True),
    Layout(720, 1, lines=True),
    Layout(2, 1, 360, 20, kernel=True),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reach", [0, 1, 7, 200])
def test_every_layout_reads_what_it_wrote(layout: Layout, reach: int) -> None:
    values = np.random.default_rng(0).integers(-reach, reach + 1, 720).astype(np.int16)
    alphabet, writer, read = Alphabet(-reach, 2 * reach + 1, reach), Writer(), np.zeros(720, np.int16)
    run(writer, values.copy(), alphabet, layout)
    run(Reader(writer.to_bytes(), reach), read, alphabet, layout)
    assert np.array_equal(read, values)


def test_bands_of_rows_read_what_they_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    values = codes((50, 4, 3, 3), 3.0)
    monkeypatch.setattr("bench.artifact.codecs.passes._BAND", 36 * 7)
    for lines, kernel in ((True, True), (False, False), (True, False)):
        layout, alphabet = Layout(50, 4, 9, 3, lines, kernel), Alphabet(-20, 41, 20)
        writer, read = Writer(), np.zeros_like(values)
        run(writer, values.copy(), alphabet, layout)
        run(Reader(writer.to_bytes(), 20), read, alphabet, layout)
        assert np.array_equal(read, values)


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (codes((64, 64, 3, 3), 30.0), (64, 64, 3, 3)),
        (codes((64, 64, 3, 3), 2.0), (64, 64, 3, 3)),
        (codes((500, 800), 20.0, 0.9), (500, 800)),
        (codes((500, 800), 20.0, 0.99), (500, 800)),
        (codes((300, 784), 3.0, 0.5), (300, 784)),
        (codes((10, 500), 40.0), (10, 500)),
        (np.random.default_rng(0).choice(16, 50_000, p=np.arange(1, 17) / 136).astype(np.uint8), (200, 250)),
        (np.random.default_rng(0).standard_normal(50_000).astype(np.float32).view(np.int32), (200, 250)),
        (codes((200, 250), 9.0).astype(np.float32).view(np.int32), (200, 250)),
        (np.random.default_rng(0).standard_normal(50_000).astype(np.float16).view(np.int16), (200, 250)),
    ],
)
def test_codes_are_within_three_percent_of_the_information(words: Words, shape: Shape) -> None:
    size = len(smallest(words, shape)[1])
    assert size <= 1.03 * information_bits(words) / 8 + 100
    if words.itemsize == 1:
        assert size <= 1.03 * entropy_bits(words) / 8 + 250


def test_information_of_few_values_far_apart_is_their_list_and_places() -> None:
    """Floats from a codebook or on a grid are as many bits as their indices, and the codebook."""
    values = np.random.default_rng(0).standard_normal(4).astype(np.float32)
    words = np.random.default_rng(1).choice(values, 100_000).view(np.int32)
    complete = 2 * 100_000 + 4 * 32  # two bits a word, and four words
    assert 0.99 * complete < information_bits(words) <= complete + 100
    grid = codes((300, 300), 3.0)
    words = (grid * np.float32(0.0137)).view(np.int32)
    assert information_bits(words) <= information_bits(grid) + 32 * np.unique(grid).size + 100


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8"])
@pytest.mark.parametrize("kind", ["zero", "constant", "sparse", "floats"])
def test_information_is_the_least_of_the_descriptions(kind: str, dtype: str) -> None:
    """Against the same four written naively; parts of `_PART` words do not show."""
    random, count = np.random.default_rng(3), (1 << 18) + 1001
    floats = random.standard_normal(count).astype({"i1": "f2"}.get(dtype, "f" + dtype[1])).view(dtype)[:count]
    words = {"zero": np.zeros(count, dtype), "constant": np.full(count, -7, dtype), "floats": floats,
             "sparse": np.where(random.random(count) < 0.02, floats, 0).astype(dtype)}[kind]  # fmt: skip
    assert information_bits(words) == pytest.approx(naive_information(words), rel=1e-9, abs=1e-3)


def naive_information(words: Words) -> float:
    def entropy(values: Words) -> float:
        counts = np.unique(values, return_counts=True)[1]
        return float((counts * np.log2(values.size / counts)).sum())

    def histograms(cells: int) -> float:
        ways = math.lgamma(float(n + cells)) - math.lgamma(n + 1.0) - math.lgamma(float(cells))
        return max(0.0, ways / math.log(2))

    n, bits, different = words.size, 8 * words.itemsize, np.unique(words).size
    sizes = [float(n * bits)]
    if words.itemsize < 4 or different < 0.8 * n:
        sizes.append(entropy(words) + histograms(int(words.max()) - int(words.min()) + 1))
        sizes.append(entropy(words) + histograms(different) + bits * different + math.log2(n))
    if words.itemsize > 1:
        low = bits - {2: 8, 4: 9, 8: 12}[words.itemsize]
        upper = np.where(words == 0, -1, (words.view(f"u{words.itemsize}") >> low).astype(np.int64))
        seen = upper[upper >= 0]
        span = int(seen.max() - seen.min()) + 2 if seen.size else 1
        sizes.append(entropy(upper) + histograms(span) + low * seen.size)
    return min(sizes)


@pytest.mark.parametrize(
    ("words", "shape", "share"),
    [
        (uneven((300, 400)), (300, 400), 0.93),
        (uneven((64, 48, 3, 3)), (64, 48, 3, 3), 0.97),
        (smooth((64, 48, 3, 3)), (64, 48, 3, 3), 0.96),
        (smooth((96, 20, 4, 4)), (96, 320), 0.96),
    ],
)
def test_contexts_save_what_rows_columns_and_kernels_say(words: Words, shape: Shape, share: float) -> None:
    assert len(smallest(words, shape)[1]) < share * entropy_bits(words) / 8


def test_positions_and_values_of_a_sparse_tensor_are_told_apart() -> None:
    shape, density = (200, 300), 0.02
    random = np.random.default_rng(0)
    words = np.where(random.random(shape) < density, random.integers(1, 128, shape), 0).astype(np.int8).reshape(-1)
    code = CODECS["range"].encode(words, shape)
    assert code is not None
    decoded = CODECS["range"].decode(code, words.dtype, shape)
    positions = entropy_bits((words != 0).astype(np.uint8)) / 8
    assert decoded.indices == pytest.approx(positions, rel=0.05)
    assert len(code) - decoded.indices - decoded.tables == pytest.approx(np.count_nonzero(words) * 7 / 8, rel=0.05)
    assert CODECS["range"].decode(code, words.dtype, shape).tables < 10


def test_a_dense_tensor_has_no_positions() -> None:
    words = codes((100, 100), 30.0)
    code = CODECS["range"].encode(words, (100, 100))
    assert code is not None
    assert CODECS["range"].decode(code, words.dtype, (100, 100)).indices == 0


def test_bytes_of_a_code_are_the_same_everywhere() -> None:
    """Fails where a machine or a version of numpy or constriction computes other probabilities."""
    golden = {"lines": (uneven((60, 80)), (60, 80)), "kernel": (smooth((20, 16, 3, 3)), (20, 16, 3, 3)),
              "plain": (codes((999,), 5.0), (999,))}  # fmt: skip
    found = {}
    for name, (words, shape) in golden.items():
        code = CODECS["range"].encode(words, shape)
        assert code is not None
        found[name] = hashlib.sha256(code).hexdigest()[:16]
    assert found == GOLDEN


GOLDEN = {"lines": "89d2aa5fde6dbae2", "kernel": "8ffd9a19c9b3202c", "plain": "dab158366c1e6545"}


@given(count=st.integers(2, 4095), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_no_symbol_is_too_unlikely_to_be_coded(count: int, seed: int) -> None:
    weights = np.exp(np.random.default_rng(seed).uniform(-40, 20, count))
    symbols, writer = np.arange(count, dtype=np.int32), Writer()
    writer.code(symbols, weights)
    assert np.array_equal(Reader(writer.to_bytes(), 0).code(np.zeros(count, np.int32), weights), symbols)


@given(values=st.lists(st.integers(-(2**63), 2**64), max_size=5))
def test_numbers_come_back(values: list[int]) -> None:
    data = numbers.write(*values)
    assert numbers.read(data + b"x", 0, len(values)) == (values, len(data))
    for cut in range(len(data)):
        with pytest.raises(ValueError, match="cut off"):
            numbers.read(data[:cut], 0, len(values))


def test_a_number_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="does not end"):
        numbers.read(b"\xff" * 1000, 0, 1)


@pytest.mark.parametrize(("alphabet", "centre"), [(1, 0), (2, 0), (2, 1), (255, 127), (256, 3), (4095, 2047)])
def test_bins_adjoin_and_widen(alphabet: int, centre: int) -> None:
    signed = bins(alphabet, centre)
    assert signed[centre] == 0
    assert set(np.diff(signed)) <= {0, 1}
    widths = np.bincount(np.abs(signed[centre:]))
    assert list(widths[1:-1]) == sorted(widths[1:-1])
    assert widths[0] == 1


def test_weights_are_positive_and_follow_what_was_seen() -> None:
    model = Model(255, 127, 24, 8)
    before = model.weights(np.arange(192))
    assert before.shape == (192, 255)
    assert (before > 0).all()
    seen = np.full(100_000, 130, np.int32)
    model.learn(np.full(seen.size, 5, np.uint8), seen)
    after = model.weights(np.array([5]))[0].astype(float)
    assert (after > 0).all()
    assert after[130] / after.sum() > 0.999
