"""Which test images a row gets right, and how it does on each class, from what a record holds of predictions."""

from __future__ import annotations

import operator
import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress

from bench.records import Accuracy, RunRecord, RuntimeResult, class_bytes

_ZERO_AND_ONE = bytes.maketrans(b"\x00\x01", b"01")
_LARGEST_RUN = 4096  # rows times seeds times runtimes that are kept decoded


@dataclass(frozen=True)
class Hits:
    """The images of one test split that one row gets right."""

    seen: int
    images: int = field(repr=False)  # a bit an image, set where it is right, the first image highest
    by_class: tuple[int, ...]  # how many of each class are
    class_sizes: tuple[int, ...]  # how many there are; 0 of a number that labels none
    labels: bytes = field(repr=False)  # two bytes an image, in the machine's order: what is compared has the same

    def only(self, other: Hits) -> tuple[int, int]:
        """How many images this row alone gets right, and how many the other alone."""
        return (self.images & ~other.images).bit_count(), (other.images & ~self.images).bit_count()


@dataclass(frozen=True)
class Score:
    """Accuracy of one row and seed as a fraction of the images seen; which of them are right, where that is known."""

    share: float
    seen: int
    hits: Hits | None = None


def score_of(one: RunRecord, accuracy: Accuracy) -> Score:
    """The score of a record's row; accuracy: of one of its runtimes, of an image at least."""
    return Score(accuracy.correct / accuracy.seen, accuracy.seen, hits_of(one, accuracy))


def hits_of(one: RunRecord, accuracy: Accuracy | None) -> Hits | None:
    """What a record's row gets right in one runtime; None where it holds no predictions or no labels."""
    if accuracy is None or not accuracy.predictions or not one.test_labels:
        return None
    return _hits(accuracy.predictions, one.test_labels)


def on_the_same_images(first: Hits | None, second: Hits | None) -> bool:
    """Whether two rows are known image by image, on a split with the same labels in the same order."""
    return first is not None and second is not None and first.labels == second.labels


def agreement(first: RuntimeResult, second: RuntimeResult | None) -> float | None:
    """The share of test images for which two rows predict the same class; None where that is not known."""
    own, other = (result.accuracy.predictions if result and result.accuracy else "" for result in (first, second))
    if not own or not other:
        return None
    ours, theirs = _classes(own), _classes(other)
    return sum(map(operator.eq, ours, theirs)) / len(ours) if len(ours) == len(theirs) and ours else None


@lru_cache(_LARGEST_RUN)
def _hits(predictions: str, labels: str) -> Hits | None:
    predicted, true = _classes(predictions), _classes(labels)
    if len(predicted) != len(true) or not true:
        return None
    right = bytes(map(operator.eq, predicted, true))  # a byte an image, 1 where it is right
    sizes, found = _sizes(labels), Counter(compress(true, right))
    by_class = tuple(found[one] for one in range(len(sizes)))
    return Hits(len(true), int(right.translate(_ZERO_AND_ONE), 2), by_class, sizes, true.tobytes())


@lru_cache
def _sizes(labels: str) -> tuple[int, ...]:
    """How many images each class has, by its number."""
    counts = Counter(_classes(labels))
    return tuple(counts[one] for one in range(max(counts) + 1))


@lru_cache(_LARGEST_RUN)
def _classes(text: str) -> array[int]:
    """Classes of images in order."""
    found = array("H", class_bytes(text))
    if sys.byteorder == "big":
        found.byteswap()
    return found
