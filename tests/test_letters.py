"""Laws of letter displays: rows share a letter exactly if they are alike, and none is without."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.letters import MOST, letters


def graph(rows: int, pairs: set[tuple[int, int]]) -> list[int]:
    found = [0] * rows
    for one, other in pairs:
        found[one] |= 1 << other
        found[other] |= 1 << one
    return found


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, set[tuple[int, int]]]:
    """Any relation: tests of pairs need not make intervals."""
    rows = draw(st.integers(1, 12))
    every = list(combinations(range(rows), 2))
    return rows, set(draw(st.lists(st.sampled_from(every), unique=True))) if every else set()


def breaches(texts: list[str], pairs: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs that share a letter though they are not alike, or share none though they are; (i, i) is a row without."""
    wrong = [(row, row) for row, text in enumerate(texts) if not text]
    for one, other in combinations(range(len(texts)), 2):
        if bool(set(texts[one]) & set(texts[other])) != ((one, other) in pairs):
            wrong.append((one, other))
    return wrong


@settings(max_examples=300)
@given(graphs())
def test_rows_share_a_letter_exactly_if_they_are_alike(case: tuple[int, set[tuple[int, int]]]) -> None:
    rows, pairs = case
    texts = letters(graph(rows, pairs))
    assert texts is not None
    assert breaches(texts, pairs) == []
    assert all(list(text) == sorted(set(text)) for text in texts)
    assert texts[0].startswith("a")
    firsts = [min(row for row, text in enumerate(texts) if letter in text) for letter in sorted(set("".join(texts)))]
    assert firsts == sorted(firsts)


def test_a_display_that_breaks_the_law_is_seen() -> None:
    pairs = {(0, 1), (1, 2)}
    assert breaches(["a", "ab", "b"], pairs) == []
    assert breaches(["a", "a", "a"], pairs) == [(0, 2)]
    assert breaches(["a", "ab", "c"], pairs) == [(1, 2)]
    assert breaches(["a", "ab", ""], pairs) == [(2, 2), (1, 2)]


@pytest.mark.parametrize(
    ("rows", "pairs", "texts"),
    [
        (3, set(), ["a", "b", "c"]),
        (3, {(0, 1), (0, 2), (1, 2)}, ["a", "a", "a"]),
        (4, {(0, 1), (1, 2), (2, 3)}, ["a", "ab", "bc", "c"]),
        (5, {(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4)}, ["a", "ab", "ab", "bc", "c"]),
        (4, {(0, 3)}, ["a", "b", "c", "a"]),
    ],
)
def test_worked_examples(rows: int, pairs: set[tuple[int, int]], texts: list[str]) -> None:
    assert letters(graph(rows, pairs)) == texts


def test_more_groups_than_letters_have_no_display() -> None:
    assert letters([0] * MOST) is not None
    assert letters([0] * (MOST + 1)) is None
    hundreds = graph(300, {(one, other) for one, other in combinations(range(300), 2) if other - one < 4})
    assert letters(hundreds) is None
