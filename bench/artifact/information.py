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
    """The least bits in which the words can be said by one of three descriptions that know nothing of order.

    - As they are.
    - The histogram of their values and which of the words with that histogram they are: the number of words times the
      entropy of their distribution (Shannon 1948), plus log2 of the number of histograms of as many words over the
      range from their least to their greatest value. A distribution is not free: the entropy alone would say that n
      different floats take log2(n) bits each.
    - Of words of two bytes and more, the same of their upper bits (sign and exponent of a float; zero apart), and the
      lower bits as they are.
    """
    plain = 8.0 * words.nbytes
    if words.size == 0:
        return 0.0
    descriptions = [plain]
    if words.itemsize <= _COUNTED_BYTES or _repeats(words):
        low, high = int(words.min()), int(words.max())
        descriptions.append(entropy_bits(words) + _histogram_bits(words.size, high - low + 1))
    if words.itemsize >= _COUNTED_BYTES:
        descriptions.append(_upper_and_lower(words))
    return min(descriptions)


def entropy_bits(words: Words) -> float:
    """Zeroth-order entropy: the number of words times the entropy of the distribution of their values, in bits.

    What an ideal coder that knows the histogram, and nothing of order, would need (Shannon 1948).
    """
    if words.size == 0:
        return 0.0
    bits = sum(float((counts * np.log2(words.size / counts)).sum()) for counts in _counts(words))
    return bits + 0.0  # -0.0 of a constant becomes 0.0


def _upper_and_lower(words: Words) -> float:
    upper_bits = _UPPER_BITS[words.itemsize]
    bits = words.view(f"u{words.itemsize}")
    lower_bits = 8 * words.itemsize - upper_bits
    upper = (bits >> bits.dtype.type(lower_bits)).astype(np.int16)
    upper += 1
    upper[bits == 0] = 0  # zero apart
    others = np.count_nonzero(upper)
    seen = upper[upper > 0]
    span = int(seen.max()) - int(seen.min()) + 2 if seen.size else 1
    return entropy_bits(upper) + _histogram_bits(words.size, span) + lower_bits * others


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
        counts = np.bincount(words.view(f"u{words.itemsize}"))
        yield counts[counts > 0]
        return
    values, start = np.sort(words), 0
    for at in range(0, values.size, _PART):
        changes = np.flatnonzero(values[at + 1 : at + _PART + 1] != values[at : at + _PART][: values.size - at - 1])
        ends = changes + (at + 1)  # where runs of equal values end
        if ends.size:
            yield np.diff(ends, prepend=start)
            start = int(ends[-1])
    yield np.array([values.size - start])
