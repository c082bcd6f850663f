"""Rows beside their controls: verdicts that turn with the numbers, and where controls show and where they do not."""

from __future__ import annotations

import dataclasses
import re

import pytest

from bench.records import Accuracy, RunRecord
from reports.absent import MADE_FOR_SOME, absent
from reports.controls import LARGER, NONE_NEAR, SMALLER, TRADE, Match, against_file, matches, refused
from reports.controls_page import NONE, controls_section
from reports.page import page
from reports.pairing import ALIKE, BETTER, NO_SEED, WORSE, compared, rows_of, verdict
from reports.panels import Panel, points_of
from reports.rows import first_scored, frame, summary
from reports.sweeps import sweeps
from reports.table import markdown_table, terminal_table
from tests.controls_example import (
    DISTILL,
    PRUNE,
    PTQ,
    RANDOM,
    SEEN,
    UNTAUGHT,
    changed,
    controlled,
    refused_control,
    row,
    sized,
    without,
)

CHAIN = f"{PRUNE}+{PTQ}"


def match(records: list[RunRecord], chain: str, role: str) -> Match:
    (found,) = [one for one in matches(records) if (one.row.chain, one.role) == (chain, role)]
    return found


def roles_of(records: list[RunRecord], chain: str) -> set[str]:
    return {one.role for one in matches(records) if one.row.chain == chain}


@pytest.mark.parametrize(
    ("control", "chain", "role"),
    [
        ("longer:extra=2", PRUNE, "longer"),
        ("small:bytes=150000", PRUNE, "small"),
        (RANDOM, PRUNE, "random"),
        (UNTAUGHT, DISTILL, "untaught"),
    ],
)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_verdict_turns_with_the_controls_accuracy(control: str, chain: str, role: str, seeds: tuple[int]) -> None:
    records = controlled(seeds)
    own = next(one for one in records if one.chain == chain).runtimes[0].accuracy
    assert own is not None
    for correct, expected in ((own.correct - 400, BETTER), (own.correct, ALIKE), (own.correct + 200, WORSE)):
        run = controlled(seeds)
        for seed in seeds:
            run = changed(run, control, correct + 3 * seed, seed=seed)
        found = match(run, chain, role)
        assert found.verdict == expected
        assert found.gap is not None
        assert found.gap.seeds == len(seeds)


def test_a_row_is_held_against_its_own_controls_only() -> None:
    records = controlled()
    assert roles_of(records, PRUNE) == {"longer", "small", "random", "half", "xz"}
    assert roles_of(records, DISTILL) == {"longer", "small", "half", "xz", "untaught"}
    assert {one.row.chain for one in matches(records)} == {PRUNE, DISTILL, CHAIN}
    others = [dataclasses.replace(one, control_of=("x",)) if one.chain == RANDOM else one for one in records]
    assert roles_of(others, PRUNE) == {"longer", "small", "half", "xz"}


def test_a_row_without_a_small_network_of_its_own_is_read_between_others_over_the_logarithm_of_the_bytes() -> None:
    records = [
        sized(row("dense", 9700), 1_000_000),
        sized(row("dct", 9000), 60_000),
        sized(row("small:bytes=1", 8000, role="small", of=["x"]), 45_000),
        sized(row("small:bytes=2", 9000, role="small", of=["y"]), 80_000),
        sized(row("small:bytes=3", 9990, role="small", of=["z"]), 900_000),  # further away: no part in it
    ]
    found = match(records, "dct", "small")
    assert found.control is None
    assert found.interpolated
    assert found.gap is not None
    assert found.gap.mean == pytest.approx(0.05)  # 60 kB is half way from 45 to 80 on a scale of factors
    assert found.verdict == BETTER
    assert "interpolated" in controls_section(records)
    for size, why in ((1_000_000, "all small ones are smaller"), (40_000, "all small ones are larger")):
        beyond = match([sized(one, size) if one.chain == "dct" else one for one in records], "dct", "small")
        assert (beyond.gap, beyond.verdict, beyond.note) == (None, NONE_NEAR, why)


@pytest.mark.parametrize(("apart", "compared"), [(1.99, True), (2.0, True), (2.01, False), (20.0, False)])
def test_only_a_limited_gap_of_bytes_is_bridged(apart: float, compared: bool) -> None:
    records = [
        sized(row("dense", 9700), 10_000_000),
        sized(row("dct", 9000), 120_000),
        sized(row("small:bytes=1", 8000, role="small", of=["x"]), 100_000),
        sized(row("small:bytes=2", 8100, role="small", of=["y"]), round(100_000 * apart)),
    ]
    found = match(records, "dct", "small")
    assert found.interpolated is compared
    assert found.verdict == (BETTER if compared else NONE_NEAR)
    assert ("no comparison<br>the nearest, 100 kB and " in controls_section(records)) is not compared


def test_a_small_network_of_another_row_that_is_as_large_is_one_that_was_trained() -> None:
    records = [sized(row("dct", 9000), 155_000), *controlled()]
    found = match(records, "dct", "small")
    assert found.control is not None
    assert (found.control.chain, found.note) == ("small:bytes=150000", "~that of another row, 151 kB")
    own = sized(row("small:like=dct", 9100, role="small", of=["dct"]), 148_000)  # further off, and the row's own
    assert (match([*records, own], "dct", "small").control or found.row).chain == "small:like=dct"


def test_a_small_network_of_other_bytes_is_no_comparison_at_equal_bytes() -> None:
    records = [sized(one, 160_000) if one.chain == "small:bytes=150000" else one for one in controlled()]
    found = match(records, PRUNE, "small")
    assert (found.control, found.verdict) == (None, NONE_NEAR)
    assert found.note == "the nearest, 30.0 kB and 160 kB, are 5.33× apart"
    near = [sized(one, 81_000) if one.chain == "small:bytes=30000" else one for one in records]
    assert match(near, PRUNE, "small").note == "interpolated"
    alone = match(without(records, "small:bytes=30000"), PRUNE, "small")
    assert (alone.gap, alone.verdict) == (None, NONE_NEAR)
    assert "small" not in roles_of(without(records, "small:bytes=30000", "small:bytes=150000"), PRUNE)


def test_the_nearest_budget_stands_in_and_says_so() -> None:
    found = match(controlled(), DISTILL, "longer")
    assert found.note == "~2 extra epochs, the row 6"
    assert "~2 extra epochs, the row 6" in controls_section(controlled())
    ten = dataclasses.replace(row("longer:extra=7", 9800, role="longer", of=["x"], epochs=7), file_bytes=1_000_000)
    assert match([*controlled(), ten], DISTILL, "longer").note == "~7 extra epochs, the row 6"
    untrained = sized(row("ptq:bits=4", 9600, epochs=0), 90_000)
    assert "longer" not in roles_of([*controlled(), untrained], "ptq:bits=4")


@pytest.mark.parametrize(
    ("correct", "smaller", "expected"),
    [
        (97_000, 2.0, BETTER), (97_000, 1.005, ALIKE), (97_000, 0.5, WORSE), (90_000, 2.0, TRADE), (90_000, 0.5, WORSE),
        (90_000, 1.0, WORSE), (99_900, 2.0, BETTER), (99_900, 1.0, BETTER), (99_900, 0.5, TRADE),
    ],
)  # fmt: skip
def test_bytes_count_where_the_other_is_a_file_of_dense(correct: int, smaller: float, expected: str) -> None:
    """Of so many images that an interval is far narrower than the margin."""
    ours, dense = rows_of([of_many(row("a", 0), correct), of_many(row("b", 0), 97_000)])
    gap = compared(ours, dense)
    assert against_file(gap, smaller) == expected
    opposite = {BETTER: WORSE, WORSE: BETTER}.get(expected, expected)
    assert against_file(compared(dense, ours), 1 / smaller) == opposite
    assert against_file(None, smaller) == NO_SEED


def of_many(one: RunRecord, correct: int) -> RunRecord:
    scored = Accuracy(correct, correct, 100_000)
    return dataclasses.replace(one, runtimes=tuple(dataclasses.replace(r, accuracy=scored) for r in one.runtimes))


def test_a_wide_interval_is_no_proof_of_equal_accuracy() -> None:
    """A smaller file whose accuracy might be half a point lower is not called better."""
    ours, dense = rows_of([row("a", 9000), row("b", 9010)])
    gap = compared(ours, dense)
    assert against_file(gap, 3.0) == SMALLER
    assert against_file(gap, 0.3) == LARGER


def test_rows_without_a_seed_in_common_are_not_compared() -> None:
    ours, other = rows_of([row("a", 9000, seed=0), row("b", 9700, seed=1)])
    assert compared(ours, other) is None
    assert verdict(None) == NO_SEED


def test_a_control_that_was_asked_for_is_one() -> None:
    records = [dataclasses.replace(one, role="asked") if one.chain == "half" else one for one in controlled()]
    assert match(changed(records, "half", 9900), PRUNE, "half").verdict == TRADE
    assert {one.role for one in matches(records) if one.row.chain == "half" and one.gap} == {"xz"}


@pytest.mark.parametrize(("control", "chain", "role"), [(RANDOM, PRUNE, "random"), (UNTAUGHT, DISTILL, "untaught")])
def test_a_control_that_was_asked_for_is_known_by_what_it_leaves_out(control: str, chain: str, role: str) -> None:
    as_asked = [
        dataclasses.replace(one, role="asked", control_of=()) if one.chain == control else one for one in controlled()
    ]
    assert match(as_asked, chain, role).verdict == BETTER
    assert role not in roles_of(as_asked, CHAIN)
    assert role not in roles_of(as_asked, control)
    other = control.replace("0.9", "0.8").replace("student1", "student2")
    assert role not in roles_of([dataclasses.replace(one, chain=other) if one.chain == control else one
                                 for one in as_asked], chain)  # fmt: skip


def test_random_pruning_at_rates_of_its_own_is_no_control_at_the_same_rates() -> None:
    free = row(RANDOM.replace("rates=magnitude", "rates=uniform"), 9000)
    same = row(RANDOM, 9000)
    pruned = row("prune:sparsity=0.9:score=magnitude:rates=global", 9600)
    assert roles_of([pruned, free], pruned.chain) == set()
    anywhere = row("prune:sparsity=0.9:score=random:rates=global", 5000)  # other rates of the layers, chance accuracy
    assert roles_of([pruned, anywhere], pruned.chain) == set()
    assert roles_of([pruned, same], pruned.chain) == {"random"}


@pytest.mark.parametrize(
    ("taught", "control", "other"),
    [
        ("qat:bits=8:teacher=dense:loss=kd:alpha=0.9", "qat:bits=8", "qat:bits=4"),
        ("distill:student=mlp:loss=dkd:beta=2.0", "distill:student=mlp:loss=none:beta=None", "distill:student=wrn"),
        (f"{PRUNE}+qat:bits=8:teacher=dense:loss=kd:alpha=0.9", f"{PRUNE}+qat:bits=8", "qat:bits=8"),
    ],
)  # fmt: skip
def test_a_row_that_was_typed_without_its_teacher_is_the_control_of_the_taught_one(taught, control, other) -> None:
    records = [row("dense", 9700), row(taught, 9600), row(control, 9400), row(other, 9400)]
    assert match(records, taught, "untaught").control.chain == control
    assert roles_of(records, control) == roles_of(records, other) == set()


def test_the_untaught_row_need_not_be_a_student() -> None:
    assert "the same without its teacher" in controls_section(controlled())


def test_refused_controls_are_told_once_with_their_reason_and_seeds() -> None:
    records = controlled((0, 1, 2))
    ((role, reason, of),) = refused(records)
    assert (role, reason, len(of)) == ("small", "refused: one channel a layer is larger", 3)
    section = controls_section(records)
    assert section.count("one channel a layer is larger") == 1
    assert "seeds 0, 1, 2" in section
    text = page(records, title="t", command="c")
    assert text.count("one channel a layer is larger") == 1  # not among what went wrong
    asked = [*records, dataclasses.replace(refused_control("small", "dct", (), "why not"), role="asked")]
    assert "why not" in page(asked, title="t", command="c").split("## What went wrong")[1]


def lacking(records: list[RunRecord]) -> dict[str, tuple[set[str], int]]:
    return {one.role: ({row.chain for row in one.without}, one.of) for one in absent(records)}


def test_a_row_without_a_control_that_rows_like_it_have_is_named() -> None:
    records = controlled()
    assert lacking(records) == {"small": ({DISTILL}, 3), "random": ({CHAIN}, 2)}  # that of the chain was refused
    section = controls_section(records).split("Controls that there are not:")[1]
    assert f"same layer-wise rates: none for 1 of the 2 rows that it is for: `{records[3].label}`" in section
    assert MADE_FOR_SOME in section
    second = dataclasses.replace(row(DISTILL.replace("student1", "student2"), 9400), file_bytes=119_000)
    assert lacking([*records, second])["untaught"] == ({second.chain}, 2)
    assert lacking(without(records, PTQ))["part"] == ({CHAIN}, 1)
    typed = [dataclasses.replace(one, role="asked", control_of=()) if one.chain == PTQ else one for one in records]
    assert "part" not in lacking(typed)


def test_a_row_whose_control_was_refused_or_that_needs_none_is_not_named() -> None:
    records = controlled((0, 1))
    refused_too = [*records, *(refused_control("random", "x", [CHAIN], "no", seed) for seed in (0, 1))]
    assert "random" not in lacking(refused_too)
    every = [row("dense", 9700), row(RANDOM, 9000), row("dct:keep=0.5", 9600)]
    assert set(lacking(every)) == {"small"}
    assert lacking([]) == {}
    full = [one for one in controlled() if one.chain not in (CHAIN, DISTILL)]
    assert lacking(full) == {}
    assert MADE_FOR_SOME not in controls_section(full)


def test_a_dash_among_the_controls_is_explained_and_many_rows_are_counted() -> None:
    assert "–: there is nothing to be held against" in controls_section(controlled())
    full = [one for one in controlled() if one.chain in ("dense", PRUNE, "half", "xz", RANDOM, "longer:extra=2")]
    assert "–: there is nothing" not in controls_section(full)
    many = [row(f"prune:sparsity=0.{k}:score=magnitude", 9000) for k in range(100, 140)]
    text = controls_section([*controlled(), *many])
    assert "none for 41 of the 42 rows that it is for" in text
    assert "and 16 more" in text


def test_a_control_that_failed_went_wrong() -> None:
    broken = dataclasses.replace(refused_control("half", "half:x=1", (), "it broke"), status="failed")
    assert "it broke" in page([*controlled(), broken], title="t", command="c").split("## What went wrong")[1]


def test_a_run_without_controls_says_so_and_one_with_them_does_not() -> None:
    records = [one for one in controlled() if one.role == "asked"]
    assert NONE in page(records, title="t", command="c")
    assert NONE not in page(controlled(), title="t", command="c")


def test_tables_say_what_a_control_is_of_and_put_it_last() -> None:
    records = controlled()
    mixed = [*records[4:], *records[:4]]
    table = frame(mixed)
    assert table["role"].tolist()[:4] == ["asked"] * 4
    assert table["method"].iloc[0] == "dense"
    assert "asked" not in table["role"].tolist()[4:]
    line = table[table["chain"] == RANDOM].iloc[0]
    assert (line["role"], line["control_of"]) == ("random", PRUNE)
    assert line["control"] == "pruned at random at the same layer-wise rates: of prune:sparsity=0.9"
    text = markdown_table(table)
    assert "| control |" in text
    assert "| control |" not in markdown_table(frame(records[:4]))
    assert summary(table)["control"].tolist() == table["control"].tolist()
    assert terminal_table(records).row_count == len(records)


def test_the_pages_table_has_what_was_asked_for_and_other_sections_the_controls() -> None:
    text = page(controlled(), title="t", command="c")
    table = text.split("## Table\n")[1].split("\n## ")[0]
    assert "half" not in table
    assert "| prune:sparsity=0.9 |" in table
    assert "9 of them were not asked for" in text
    controls = text.split("## Controls\n")[1].split("\n## ")[0]
    assert "`half`" in controls


def test_a_control_that_beats_a_method_is_on_the_front_and_no_other() -> None:
    def front(records: list[RunRecord]) -> list[str]:
        samples = [(one, float(one.file_bytes), first_scored(one)) for one in records if one.status == "ok"]

        return [point.chain for point in Panel("", "", points_of(samples)).front]

    records = controlled()
    small, half = "small:bytes=150000", "half"
    assert small not in front(records)
    assert half not in front(records)  # it beats dense only, which is no method
    better = sized(next(one for one in changed(records, small, 9690) if one.chain == small), 149_000)
    assert small in front([*without(records, small), better])


def test_controls_make_neither_curves_nor_crowds() -> None:
    points = [sized(row(f"dct:keep={k}", 9000 + k), 1000 * k) for k in (1, 2, 3)]
    (panel,) = sweeps(points)
    assert len(panel.curves[0].points) == 3
    parts = [dataclasses.replace(one, role="part") for one in points[1:]]
    text = page([row("dense", 9700), points[0], *parts], title="t", command="c")
    assert "## Sweeps" not in text
    many = [row(f"small:bytes={k}", 9000, role="small", of=["x"]) for k in range(40)]
    assert "rows, on the Pareto front" not in page([*controlled(), *many], title="t", command="c")
    assert len(re.findall(r"and \d+ more: \[table.md\]", controls_section([*controlled(), *many]))) == 1


def test_accuracies_of_the_example_are_exact() -> None:
    for one in controlled((0, 2)):
        if one.status == "ok" and one.chain == "dense":
            accuracy = one.runtimes[0].accuracy
            assert accuracy is not None
            assert accuracy.correct == 9700 + 3 * one.seed
            assert accuracy.seen == SEEN
