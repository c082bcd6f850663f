"""What a tensor holds, in bits: the measure that a file is held against."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.artifact.codecs import Words

_COUNTED_BYTES = 2  # words up to this size are counted in a table, larger ones are sorted
_PART = 1 << 18  # words
_SAMPLE = 1 << 16  # words; of these most are distinct where a histogram of words says nothing
_UPPER_BITS = {2: 8, 4: 9, 8: 12}  # sign and exponent of a float, by bytes of a word


def information_bits(words: Words) -> float:
    """The least bits in which the words can be said by one of four descriptions that know nothing of order.

    - As they are.
    - The histogram of their values and which of the words with that histogram they are: the number of words times the
      entropy of their distribution (Shannon 1948), plus log2 of the number of histograms of as many words over the
      range from their least to their greatest value. A distribution is not free: the entropy alone would say that n
      different floats take log2(n) bits each.
    - The same with the histogram over the values that occur, and a list of these: their number, then each as it is.
      Less than the one before where few values lie far apart, as floats on a grid do.
    - Of words of two bytes and more, the same of their upper bits (sign and exponent of a float; zero apart), and the
      lower bits as they are.
    """
    plain = 8.0 * words.nbytes
    if words.size == 0:
        return 0.0
    descriptions = [plain]
    if words.itemsize <= _COUNTED_BYTES or _repeats(words):
        low, high = int(words.min()), int(words.max())
        entropy, different = _entropy(words)
        descriptions.append(entropy + _histogram_bits(words.size, high - low + 1))
        table = math.log2(words.size) + 8.0 * words.itemsize * different  # how many there are, and they themselves
        descriptions.append(entropy + _histogram_bits(words.size, different) + table)
    if words.itemsize >= _COUNTED_BYTES:
        descriptions.append(_upper_and_lower(words))
    return min(descriptions)


def entropy_bits(words: Words) -> float:
    """Zeroth-order entropy: the number of words times the entropy of the distribution of their values, in bits.

    What an ideal coder that knows the histogram, and nothing of order, would need (Shannon 1948).
    """
    return _entropy(words)[0]


def _entropy(words: Words) -> tuple[float, int]:
    """The zeroth-order entropy in bits, and how many different words there are."""
    bits, different = 0.0, 0
    for counts in _counts(words) if words.size else ():
        bits += _bits_of(counts, words.size)
        different += counts.size
    return bits, different


def _bits_of(counts: NDArray[np.int64], total: int) -> float:
    """What counts, none of them zero, of `total` words add to their entropy."""
    return float((counts * np.log2(total / counts)).sum()) + 0.0  # -0.0 of a constant becomes 0.0


def _upper_and_lower(words: Words) -> float:
    upper_bits = _UPPER_BITS[words.itemsize]
    bits = words.view(f"u{words.itemsize}")
    lower_bits = 8 * words.itemsize - upper_bits
    counts = np.zeros(1 << upper_bits, np.int64)
    for at in range(0, bits.size, _PART):
        counts += np.bincount(bits[at : at + _PART] >> bits.dtype.type(lower_bits), minlength=counts.size)
    zeros = words.size - int(np.count_nonzero(words))
    counts[0] -= zeros  # zero apart
    seen = np.flatnonzero(counts)
    span = int(seen[-1]) - int(seen[0]) + 2 if seen.size else 1
    others = [*counts[seen].tolist(), *([zeros] if zeros else [])]
    entropy = _bits_of(np.array(others), words.size)
    return entropy + _histogram_bits(words.size, span) + lower_bits * (words.size - zeros)


def _histogram_bits(count: int, values: int) -> float:
    """log2 of the number of histograms of `count` words over `values` values: (count + values - 1) choose count."""
    top = float(count + values)
    return max(0.0, (math.lgamma(top) - math.lgamma(count + 1.0) - math.lgamma(float(values))) / math.log(2))


def _repeats(words: Words) -> bool:
    """Whether values occur so often that their histogram may say something: judged by a sample."""
    sample = words[:: max(1, words.size // _SAMPLE)]
    return bool(np.unique(sample).size <= 0.9 * sample.size)


def _counts(words: Words) -> Iterator[NDArray[np.int64]]:
    """How often each value occurs, in parts that are small beside `words`."""
    if words.itemsize <= _COUNTED_BYTES:
        bits, counts = words.view(f"u{words.itemsize}"), np.zeros(1 << 8 * words.itemsize, np.int64)
        for at in range(0, bits.size, _PART):
            counts += np.bincount(bits[at : at + _PART], minlength=counts.size)
        yield counts[counts > 0]
        return
    if words.min() == words.max():  # as large as they come, and no copy is needed
        yield np.array([words.size])
        return
    values, start = np.sort(words), 0
    for at in range(0, values.size, _PART):
        changes = np.flatnonzero(values[at + 1 : at + _PART + 1] != values[at : at + _PART][: values.size - at - 1])
        ends = changes + (at + 1)  # where runs of equal values end
        if ends.size:
            yield np.diff(ends, prepend=start)
            start = int(ends[-1])
    yield np.array([values.size - start])
