"""Compact letter displays: rows that cannot be told apart share a letter. Standard library only."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

MOST = len(string.ascii_letters)


def letters(alike: Sequence[int]) -> list[str] | None:
    """A text of letters for each row, such that two rows have a letter in common exactly if they are alike; None where
    more than MOST letters would be needed.

    alike: for each row the rows that it cannot be told apart from, a bit a row, itself left out; symmetric. The first
    row has an `a`; letters rise with the first row that has them, then the second, capitals after small ones.

    The display is that of Piepho 2004 (An algorithm for a letter-based representation of all-pairwise comparisons,
    J. Comput. Graph. Stat. 13(2), 456-466). A letter is a set of rows that are all alike, and the sets have to cover
    all pairs that are: they are found one after the other, each as large as it gets from the first pair that is not yet
    covered (Gramm et al. 2007, Algorithms for compact letter displays, Comput. Stat. Data Anal. 52(2), 725-736).
    """
    groups = [tuple(_bits(group)) for group in _cover(alike)]
    if len(groups) > MOST:
        return None
    found = [""] * len(alike)
    for letter, group in zip(string.ascii_letters, sorted(groups), strict=False):
        for row in group:
            found[row] += letter
    return found


def _cover(alike: Sequence[int]) -> Iterator[int]:
    """Sets of rows that are all alike, which together hold every pair that is and every row; a bit a row."""
    open_pairs = list(alike)
    for row, others in enumerate(alike):
        if not others:
            yield 1 << row
        while later := open_pairs[row] >> (row + 1):
            first = row + (later & -later).bit_length()
            group = _grown(1 << row | 1 << first, alike[row] & alike[first], alike, open_pairs)
            for member in _bits(group):
                open_pairs[member] &= ~group
            yield group


def _grown(group: int, candidates: int, alike: Sequence[int], open_pairs: Sequence[int]) -> int:
    """The group with as many candidates as go together, first those that cover most pairs still open."""
    while candidates:
        best = max(_bits(candidates), key=lambda one: ((open_pairs[one] & group).bit_count(), -one))
        group |= 1 << best
        candidates &= alike[best]
    return group


def _bits(number: int) -> Iterator[int]:
    """The places of the bits that are set, in rising order."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
