"""How much accuracy each class loses beside the dense network of the same seed, on the same test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

from bench.intervals import paired_difference
from bench.records import RunRecord, RuntimeResult
from reports.hits import Hits, agreement, hits_of, on_the_same_images

MUCH = 0.05  # of a class' accuracy: lost beyond what the row loses on the whole, it is remarked on
LEVEL = 0.05  # of all classes of a row together
MUCH_RULE = (
    f"A class loses much more than the whole where its fall, a mean over the seeds, is more than {100 * MUCH:g} points "
    "above that of all images, and where in each seed the paired interval of its fall, at "
    f"{100 - 100 * LEVEL:g} % for all classes together (Bonferroni), lies above that seed's fall on the whole."
)

Both = tuple[Hits, Hits]  # a row's and the dense network's of the same seed


@dataclass(frozen=True)
class ClassFall:
    """One class of one row over its seeds, as fractions."""

    index: int
    dense: float  # accuracy of the dense network on the class' images, mean over the seeds
    fall: float  # how much lower the row's is; negative where it is higher


def known_pairs(pairs: Sequence[tuple[Hits | None, Hits | None]]) -> list[Both]:
    """The pairs (row, dense); empty unless all are known image by image."""
    known = [(own, dense) for own, dense in pairs if own and dense and on_the_same_images(own, dense)]
    return known if len(known) == len(pairs) else []


def falls(pairs: Sequence[Both]) -> list[ClassFall]:
    """The classes that have images in each seed, by rising number."""
    numbers = range(min((len(dense.class_sizes) for _, dense in pairs), default=0))
    found = []
    for index in numbers:
        sizes = [dense.class_sizes[index] for _, dense in pairs]
        if all(sizes):
            own, beside = ([pair[k].by_class[index] / n for pair, n in zip(pairs, sizes, strict=True)] for k in (0, 1))
            fall = fmean(b - a for a, b in zip(own, beside, strict=True))
            found.append(ClassFall(index, fmean(beside), fall))
    return found


def worst(found: Sequence[ClassFall]) -> ClassFall | None:
    """The class that loses most, the first of equal ones."""
    return max(found, key=lambda one: (one.fall, -one.index), default=None)


def falls_on_the_whole(pairs: Sequence[Both]) -> list[float]:
    """How much lower the row's accuracy is than dense's on all images, of each seed."""
    return [(dense.images.bit_count() - own.images.bit_count()) / own.seen for own, dense in pairs]


def much_more(pairs: Sequence[Both]) -> list[ClassFall]:
    """The classes that fall much more than the whole by MUCH_RULE, those that lose most first."""
    every, whole = falls(pairs), falls_on_the_whole(pairs)
    confidence = 1 - LEVEL / max(1, len(every))
    return sorted(
        (
            one
            for one in every
            if one.fall > fmean(whole) + MUCH
            and all(_surely(pair, one.index, confidence) > fall for pair, fall in zip(pairs, whole, strict=True))
        ),
        key=lambda one: -one.fall,
    )


def name_of(index: int, names: Sequence[str]) -> str:
    """A class' name, its number where the record holds none."""
    return names[index] if index < len(names) else str(index)


def beside_dense(one: RunRecord, result: RuntimeResult, dense: RunRecord, beside: RuntimeResult) -> dict[str, object]:
    """Columns of a table's line that hold it against dense, image by image; dense itself has no class that falls."""
    line: dict[str, object] = {"agreement_dense": agreement(result, beside)}
    pairs = known_pairs([(hits_of(one, result.accuracy), hits_of(dense, beside.accuracy))])
    if one is not dense and (lowest := worst(falls(pairs))):
        name = name_of(lowest.index, dense.class_names) if lowest.fall > 0 else ""
        line |= {"worst_class_drop": lowest.fall, "worst_class": name}
    return line


def _surely(pair: Both, index: int, confidence: float) -> float:
    """The lower end of the paired interval of a class' fall."""
    own, dense = pair
    images = _images_of(dense.labels, index)
    lost, won = (dense.images & ~own.images & images).bit_count(), (own.images & ~dense.images & images).bit_count()
    return paired_difference(lost, won, dense.class_sizes[index], confidence)[0]


@lru_cache(1024)
def _images_of(labels: bytes, index: int) -> int:
    """The images of a class, a bit each, in the order of `Hits.images`."""
    digits = bytearray(b"0") * (len(labels) // 2)
    for place in _places(labels)[index]:
        digits[place] = ord("1")
    return int(digits, 2)


@lru_cache(16)
def _places(labels: bytes) -> dict[int, list[int]]:
    """Where the images of each class are in the split."""
    found: dict[int, list[int]] = {}
    for place, label in enumerate(memoryview(labels).cast("H")):
        found.setdefault(label, []).append(place)
    return found
