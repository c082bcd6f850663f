"""Takeaways: for each rule a run in which the claim is true, and the same with a small change that makes it false."""

from __future__ import annotations

import dataclasses
import re

import pytest

from bench.records import RunRecord
from reports.bends import Reach, alike, bend, bend_sentences, holds
from reports.ensembles import ensemble_sentences, members
from reports.page import page
from reports.pairing import rows_of
from reports.sweeps import sweeps
from reports.takeaways import (
    NOTHING,
    dominated_sentences,
    order_sentences,
    pays_sentences,
    takeaways,
    takeaways_section,
    taught_sentences,
)
from tests.controls_example import DISTILL, PRUNE, PTQ, RANDOM, UNTAUGHT, changed, controlled, row, sized, without

SEEDS = (0, 1, 2)


def about(lines: list[str], word: str) -> str:
    found = [line for line in lines if word in line]
    assert len(found) <= 1, found
    return found[0] if found else ""


def at(records: list[RunRecord], chain: str, correct: int) -> list[RunRecord]:
    """The chain with so many right images, a little more with each seed as all rows of the example have."""
    for seed in {one.seed for one in records}:
        records = changed(records, chain, correct + 3 * seed, seed=seed)
    return records


def test_a_method_pays_where_it_beats_its_controls_and_not_where_one_is_as_good() -> None:
    line = about(pays_sentences(controlled(SEEDS)), "`prune` ")
    assert line.startswith("`prune` pays at 1 of 1 setting (`prune:sparsity=0.9`): 3.80 to 5.80 points above")
    assert "`small:bytes=150000`" in line
    assert line.endswith("; seeds 0, 1, 2)")
    for control, text in ((RANDOM, "random pruning"), ("small:bytes=150000", "a small dense network")):
        line = about(pays_sentences(at(controlled(SEEDS), control, 9680)), "`prune` ")
        assert line.startswith("`prune` is not shown to pay at any of 1 setting; not at")
        assert f"not told apart from {text}" in line
        worse = about(pays_sentences(at(controlled(SEEDS), control, 9750)), "`prune` ")
        assert worse.startswith("`prune` does not pay at any of 1 setting; not at")
        assert f"worse than {text}" in worse


def test_chance_is_no_setting_of_a_method_though_it_was_asked_for() -> None:
    records = controlled(SEEDS)
    typed = [dataclasses.replace(one, role="asked", control_of=()) if one.role == "random" else one for one in records]
    assert typed != records
    assert about(pays_sentences(typed), "`prune` ").startswith("`prune` pays at 1 of 1 setting (`prune:sparsity=0.9`)")


def test_a_method_that_loses_to_dense_in_half_as_many_bits_does_not_pay() -> None:
    records = [sized(one, 149_000) if one.chain == "half" else one for one in controlled(SEEDS)]
    line = about(pays_sentences(records), "`prune` ")
    assert line.startswith("`prune` does not pay at any of 1 setting;")
    assert "worse than dense in 16 bits, -0.21 (-0.23 to -0.19) points, 0.993×)" in line


def test_a_loss_that_the_bytes_make_is_told_with_the_bytes() -> None:
    """The interval reaches zero, and the file of 16 bits is far smaller."""
    records = [sized(one, 100_000) if one.chain == "half" else one for one in at(controlled((0,)), "half", 9680)]
    line = about(pays_sentences(records), "`prune` ")
    assert re.search(r"worse than dense in 16 bits, \+0\.00 \(-0\.\d+ to \+0\.\d+\) points, 0\.667×\)", line)
    topic = next(one for one in takeaways(records) if line in one.sentences)
    assert "× says how many times smaller the row's file is" in topic.rule
    assert "larger by more than 1 %" in topic.rule


def test_an_interpolated_control_counts_against_a_row_and_never_makes_it_pay_alone() -> None:
    def between(*, without_random: bool, correct: int = 9300) -> str:
        records = [one for one in at(controlled(SEEDS), "small:bytes=150000", correct) if one.chain != RANDOM or
                   not without_random]  # fmt: skip
        sizes = {"small:bytes=150000": 180_000, "small:bytes=30000": 120_000}
        records = [sized(one, sizes.get(one.chain, one.file_bytes)) for one in records]
        return about(pays_sentences(at(records, "small:bytes=30000", correct)), "`prune` ")

    alone = between(without_random=True)
    assert alone.startswith("`prune` is not shown to pay at any of 1 setting; not at `prune:sparsity=0.9` (better only")
    assert "better only than a small dense network interpolated at the same bytes, +3.80" in alone
    both = between(without_random=False)
    assert both.startswith("`prune` pays at 1 of 1 setting")
    assert "a small dense network interpolated at the same bytes and random pruning" in both
    lost = between(without_random=False, correct=9750)
    assert lost.startswith("`prune` does not pay")
    assert "worse than a small dense network interpolated at the same bytes" in lost


def test_small_networks_far_apart_in_bytes_are_no_control() -> None:
    records = without(controlled(SEEDS), RANDOM)
    records = [sized(one, 170_000) if one.chain == "small:bytes=150000" else one for one in records]
    assert about(pays_sentences(records), "`prune` ") == ""


def test_without_a_control_of_the_same_bytes_nothing_is_said_to_pay() -> None:
    records = without(controlled(SEEDS), RANDOM, "small:bytes=150000", "small:bytes=30000")
    assert pays_sentences(records) == []


def test_one_seed_is_said_to_be_one() -> None:
    for lines in (pays_sentences(controlled()), taught_sentences(controlled()), dominated_sentences(controlled())):
        assert lines
        assert all("on one seed" in line and line.endswith("; seed 0)") for line in lines)
    assert "on one seed" not in pays_sentences(controlled(SEEDS))[0]


@pytest.mark.parametrize(
    ("correct", "words"),
    [(9300, "the teacher adds +2.00"), (9500, "cannot be told apart"), (9700, "the teacher takes away: -2.00")],
)
@pytest.mark.parametrize("seeds", [(0,), SEEDS])
def test_what_a_teacher_adds_turns_with_the_untaught_student(correct: int, words: str, seeds: tuple[int, ...]) -> None:
    (line,) = taught_sentences(at(controlled(seeds), UNTAUGHT, correct))
    assert words in line
    assert f"`{DISTILL.partition(':loss')[0]}:loss=none`" in line


def test_without_an_untaught_student_nothing_is_said_of_teachers() -> None:
    assert taught_sentences(without(controlled(), UNTAUGHT)) == []


def curve(accuracies: dict[float, int], seeds: tuple[int, ...] = SEEDS) -> list[RunRecord]:
    """Dense at 9700 and a curve of keep -> right images; a file is keep times dense's."""
    records = []
    for seed in seeds:
        records.append(sized(row("dense", 9700 + 3 * seed, seed=seed), 1_000_000))
        for keep, correct in accuracies.items():
            records.append(sized(row(f"dct:keep={keep}", correct + 3 * seed, seed=seed), round(1_000_000 * keep)))
    return records


FLAT_THEN_STEEP = {0.5: 9690, 0.25: 9670, 0.125: 9640, 0.0625: 9200}


def points_of(records: list[RunRecord]) -> list:  # type: ignore[type-arg]
    (panel,) = sweeps(records)
    return list(reversed(panel.curves[0].points))


def reached(found: Reach) -> tuple[str | None, ...]:
    return tuple(one.text if one else None for one in (found.up_to, found.beyond, found.broken))


def test_a_curve_bends_where_loss_sets_in_and_a_straight_one_does_not() -> None:
    (line,) = bend_sentences(curve(FLAT_THEN_STEEP))
    assert "bends at 8.00× (keep=0.125)" in line
    assert "(keep=0.125): -0.60 points there, -5.00 at 16.0× (keep=0.0625)" in line
    assert "over 3 seeds (rests on: 4 rows, keep=0.5, 0.25, 0.125, 0.0625; seeds 0, 1, 2)" in line
    straight = {0.5: 9600, 0.25: 9500, 0.125: 9400, 0.0625: 9300}
    assert "shows no bend" in bend_sentences(curve(straight))[0]
    milder = FLAT_THEN_STEEP | {0.0625: 9560}  # less than a point
    assert "shows no bend" in bend_sentences(curve(milder))[0]


def test_a_bend_within_chance_is_none() -> None:
    noisy = curve(FLAT_THEN_STEEP, seeds=(0, 1))
    noisy = changed(noisy, "dct:keep=0.0625", 9650, seed=0)
    assert bend(points_of(noisy)) is None
    assert bend(points_of(curve(FLAT_THEN_STEEP))) is not None


def test_how_far_a_curve_holds_moves_with_the_loss() -> None:
    points = points_of(curve(FLAT_THEN_STEEP))
    assert reached(holds(points)) == ("keep=0.25", None, None)  # 0.3 points below; the next loses 0.6
    assert reached(holds(points_of(curve(FLAT_THEN_STEEP | {0.125: 9650})))) == ("keep=0.125", None, None)
    assert reached(holds(points_of(curve(dict.fromkeys(FLAT_THEN_STEEP, 9600))))) == (None, None, None)
    text = bend_sentences(curve(dict.fromkeys(FLAT_THEN_STEEP, 9600)))[0]
    assert "more than 0.5 points below dense at every setting" in text
    assert "is shown to lie below it at every setting" in text


@pytest.mark.parametrize(
    ("accuracies", "found", "words"),
    [
        (
            {0.9: 9450, 0.5: 9680, 0.25: 9400},
            (None, "keep=0.5", "keep=0.9"),
            "within 0.5 points of dense at 2.00× (keep=0.5, -0.20 points), but not at 1.11× (keep=0.9, -2.50 points);",
        ),
        (
            {0.9: 9690, 0.6: 9600, 0.5: 9500, 0.25: 9680, 0.1: 9000},
            ("keep=0.9", "keep=0.25", "keep=0.5"),
            "dense up to 1.11× (keep=0.9, -0.10 points) and at 4.00× (keep=0.25, -0.20 points), but not at 2.00× "
            "(keep=0.5, -2.00 points) between;",
        ),
        ({0.9: 9690, 0.5: 9680, 0.25: 9000}, ("keep=0.5", None, None), "dense up to 2.00× (keep=0.5, -0.20 points);"),
    ],
)
def test_up_to_is_said_only_where_no_milder_setting_breaks_it(accuracies, found, words) -> None:  # type: ignore[no-untyped-def]
    assert reached(holds(points_of(curve(accuracies)))) == found
    assert reached(alike(points_of(curve(accuracies, (0,))))[0]) == found
    (line,) = bend_sentences(curve(accuracies, (0,)))
    assert words in line
    assert line.count("up to") == 2 * (found[0] is not None)
    assert line.count("but not at") == 2 * (found[1] is not None)


def test_what_is_not_told_apart_from_dense_is_said_with_its_interval() -> None:
    same, _ = alike(points_of(curve(FLAT_THEN_STEEP, seeds=(0,))))
    assert reached(same) == ("keep=0.25", None, None)
    (line,) = bend_sentences(curve(FLAT_THEN_STEEP, (0,)))
    assert "is not shown to lie below it up to 4.00× (keep=0.25, -0.30 (" in line


def test_two_settings_are_no_curve_and_controls_make_none() -> None:
    assert bend_sentences(curve({0.5: 9690, 0.25: 9670})) == []
    others = [dataclasses.replace(one, role="part") if "0.125" in one.chain or "0.0625" in one.chain else one
              for one in curve(FLAT_THEN_STEEP)]  # fmt: skip
    assert bend_sentences(others) == []


STUDENTS = ("distill:student=student1", "distill:student=student2")
ENSEMBLE = f"ensemble:of='{','.join(STUDENTS)}':seeds=1:mean=logits"


def ensemble(correct: int = 9600, rival: int = 9300, rival_bytes: int = 200_000) -> list[RunRecord]:
    records = []
    for seed in SEEDS:
        records += [
            sized(row("dense", 9700 + 3 * seed, seed=seed), 1_000_000),
            sized(row(STUDENTS[0], 9400 + 3 * seed, seed=seed), 100_000),
            sized(row(STUDENTS[1], 9450 + 3 * seed, seed=seed), 110_000),
            sized(row(ENSEMBLE, correct + 3 * seed, seed=seed), 211_000),
            sized(row("dct:keep=0.2", rival + 3 * seed, seed=seed), rival_bytes),
        ]
    return records


def test_members_are_found_in_a_quoted_list() -> None:
    rows = rows_of(ensemble())
    whole = next(one for one in rows if one.chain == ENSEMBLE)
    assert [one.chain for one in members(whole, rows)] == list(STUDENTS)
    assert all(members(one, rows) == [] for one in rows if one.chain != ENSEMBLE)


@pytest.mark.parametrize(
    ("correct", "words"),
    [(9600, "is more accurate than"), (9450, "cannot be told apart from"), (9300, "is less accurate than")],
)
def test_what_an_ensemble_adds_turns_with_its_accuracy(correct: int, words: str) -> None:
    (line,) = ensemble_sentences(ensemble(correct))
    assert f"{words} its best member `{STUDENTS[1]}`" in line
    assert "at 1.92× its bytes" in line


def test_an_ensemble_pays_for_its_bytes_only_where_no_single_row_of_no_more_is_as_accurate() -> None:
    assert "for its bytes it pays: each of 3 single rows" in ensemble_sentences(ensemble())[0]
    beaten = ensemble_sentences(ensemble(rival=9605))[0]
    assert "for its bytes it is not shown to pay against `dct:keep=0.2`, which is 1.05× smaller" in beaten
    assert "for its bytes it pays" in ensemble_sentences(ensemble(rival=9605, rival_bytes=300_000))[0]


def test_an_ensemble_whose_members_are_no_rows_is_not_judged() -> None:
    assert ensemble_sentences(without(ensemble(), *STUDENTS)) == []


CHAIN, BACK = f"{PRUNE}+{PTQ}", f"{PTQ}+{PRUNE}"


@pytest.mark.parametrize(
    ("correct", "better"),
    [(9300, CHAIN), (9900, BACK), (9660, "")],
)
def test_which_order_is_better_turns_with_the_accuracy(correct: int, better: str) -> None:
    records = controlled(SEEDS)
    for seed in SEEDS:
        records.append(sized(row(BACK, correct + 3 * seed, seed=seed, role="order", of=[CHAIN]), 40_000))
    (line,) = order_sentences(records)
    label = "+".join(stage.partition(":score")[0] for stage in better.split("+"))
    if better:
        assert line.startswith(f"`{label}` is the better order than")
    else:
        assert "is the better order" not in line
        assert "cannot be told apart" in line
    assert line.endswith("seeds 0, 1, 2)")


def test_without_another_order_nothing_is_said_of_orders() -> None:
    assert order_sentences(controlled(SEEDS)) == []


def test_a_dominated_row_is_named_with_what_dominates_it() -> None:
    by = "`prune:sparsity=0.9+ptq:bits=8` dominates 1 row: `distill:student=student1:loss=kd` (+1.60"
    assert about(dominated_sentences(controlled(SEEDS)), "dominates").startswith(by)
    equal = at(controlled(SEEDS), DISTILL, 9660)
    assert dominated_sentences(equal) == []
    larger = [sized(one, 121_000) if one.chain == f"{PRUNE}+{PTQ}" else one for one in controlled(SEEDS)]
    assert dominated_sentences(larger) == []


def test_a_control_may_dominate_and_a_part_may_not() -> None:
    small = at(controlled(SEEDS), "small:bytes=30000", 9690)
    lines = dominated_sentences(small)
    assert lines[0].startswith("`small:bytes=30000` (a small dense network of the same bytes) dominates 3 rows: ")
    part = [dataclasses.replace(one, role="part") if one.chain == "small:bytes=30000" else one for one in small]
    assert not any("small:bytes=30000" in line for line in dominated_sentences(part))


def test_a_sentence_on_many_rows_names_the_first_and_counts_the_others() -> None:
    worse = [sized(row(f"dct:keep=0.{k}", 9000), 200_000 + k) for k in range(1, 8)]
    line = about(dominated_sentences([*without(controlled(), DISTILL), *worse]), "dominates")
    assert "dominates 7 rows" in line
    assert "and 4 more" in line


def test_a_run_that_says_nothing_is_said_to() -> None:
    bare = [row("dense", 9700), row("ptq:bits=8", 9690, share=0.25)]
    section = takeaways_section(bare)
    assert NOTHING in section
    assert section.count("\n- ") == len(takeaways(bare))
    assert NOTHING not in takeaways_section(controlled())
    assert takeaways_section([]).startswith("## Takeaways")


def test_every_topic_of_a_page_states_its_rule() -> None:
    text = page(controlled(SEEDS), title="t", command="c")
    section = text.split("## Takeaways\n")[1].split("\n## ")[0]
    spoken = [one for one in takeaways(controlled(SEEDS)) if one.sentences]
    assert len(spoken) == 3
    for topic in spoken:
        assert f"**{topic.question}**" in section
        assert f"*Rule: {topic.rule}*" in section
    assert all("rests on:" in line for line in section.splitlines() if line.startswith("- "))


def test_several_networks_are_told_apart() -> None:
    both = [*controlled(SEEDS), *(dataclasses.replace(one, net="vgg") for one in controlled(SEEDS))]
    lines = taught_sentences(both)
    assert [line.partition(":")[0] for line in lines] == ["resnet18 on digits", "vgg on digits"]
    assert about(pays_sentences(both), "vgg on digits: `prune` pays")
