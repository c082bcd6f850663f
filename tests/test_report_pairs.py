"""The section on rows that can be told apart: what it counts, its rule, its tables, and what few seeds cannot say."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from bench.intervals import paired_difference
from reports import terminal_table
from reports.comparisons import paired
from reports.findings import cannot_be_told_apart
from reports.hits import score_of
from reports.marks import line_marks, marked
from reports.page import page
from reports.pairs_page import pairs_section, seeds_bound
from reports.panels import points_of
from reports.rows import frame, summary
from reports.table import latex_table, markdown_summary, markdown_table
from tests.pairs_example import NAMES, labels_of, run, scored, wrong_where
from tests.records_example import example, failed, record, with_runtime

SHARES = {"dense": 0.95, "qat": 0.948, "ptq": 0.9, "prune": 0.7}


def section(records: list) -> str:
    return pairs_section(records, marked(records))


def shown(records: list, width: int = 140) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal_table(records, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_section_counts_the_pairs_and_states_the_rule(seeds: tuple[int, ...]) -> None:
    records = run(SHARES, seeds)
    [found] = marked(records)
    apart = sum(pair.apart for pair in found.pairs)
    text = section(records)
    assert f"Of 6 pairs {apart} can be told apart, {6 - apart} cannot." in text
    assert f"4 rows, {len(seeds)} seed{'s' * (len(seeds) > 1)} in common" in text
    assert "McNemar" in text
    assert "Holm" in text
    assert text in page(records, title="t", command="c")


@pytest.mark.parametrize(("seeds", "words"), [(1, "One seed"), (2, "Two seeds bound nothing"), (3, ""), (9, "")])
def test_what_few_seeds_cannot_say_is_said(seeds: int, words: str) -> None:
    assert (words in seeds_bound(seeds)) == bool(seeds_bound(seeds)) or not words
    assert bool(seeds_bound(seeds)) == bool(words)
    text = section(run(SHARES, range(seeds), images=200))
    for known in ("One seed", "Two seeds bound nothing"):
        assert (known in text) == (known == words)


def test_two_seeds_have_no_interval_in_tables_three_have() -> None:
    two, three = (run(SHARES, range(n), images=300, spread=0.01) for n in (2, 3))
    for records, bound in ((two, False), (three, True)):
        seeds = markdown_summary(summary(frame(records)))
        assert ("two seeds bound nothing" in seeds) != bound
        assert bool(re.search(r"± \d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)", seeds)) == bound
        assert ("two seeds bound nothing" in shown(records)) != bound
        assert bool(re.search(r"\d ±\d", shown(records))) == bound
        assert ("Two seeds bound nothing" in page(records, title="t", command="c")) != bound


def test_a_row_that_went_well_on_two_of_three_seeds_has_no_interval_either() -> None:
    records = run(SHARES, range(3), images=300, spread=0.01)
    records[-1] = dataclasses.replace(failed("prune", seed=2), case_id=records[-1].case_id)
    lines = {line.split(" | ")[0]: line for line in markdown_summary(summary(frame(records))).splitlines()}
    assert "two seeds bound nothing" in lines["| prune"]
    assert "two seeds bound nothing" not in lines["| ptq"]


def test_in_figures_two_seeds_have_their_deviation_and_three_an_interval() -> None:
    records = run(SHARES, range(3), images=300, spread=0.01)
    for seeds, half in ((2, 1.0), (3, stats.t.ppf(0.975, 2) / 3**0.5)):
        some = [one for one in records if one.seed < seeds]
        for point in points_of([(one, 1.0, one.runtimes[0]) for one in some]):
            std = np.std([accuracy for _, accuracy in point.seeds], ddof=1)
            assert point.high - point.accuracy == pytest.approx(min(half * std, 100 - point.accuracy))


def test_each_runtime_has_its_own_mean_and_interval() -> None:
    records = []
    for one in run({"dense": 0.9, "qat": 0.9}, range(3), images=400, spread=0.01):
        accuracy = one.runtimes[1].accuracy
        assert accuracy is not None
        records.append(with_runtime(one, "onnxruntime", accuracy=dataclasses.replace(accuracy, correct=100 + one.seed)))
    seeds = summary(frame(records)).set_index(["method", "runtime"])
    assert seeds.loc[("qat", "onnxruntime"), "accuracy_mean"] == pytest.approx(101 / 400)
    assert seeds.loc[("qat", "onnxruntime"), "accuracy_std"] == pytest.approx(1 / 400)
    half = 4.302653 / 400 / 3**0.5
    assert seeds.loc[("qat", "onnxruntime"), "accuracy_high"] == pytest.approx(101 / 400 + half)
    assert seeds.loc[("qat", "eager"), "accuracy_mean"] > 0.8


def test_the_mark_is_in_every_table_where_there_is_one() -> None:
    records = run(SHARES, (0, 1, 2))
    marks = line_marks(marked(records))
    table = frame(records, marks)
    assert "| mark |" in markdown_table(table)
    assert "& mark &" in latex_table(table)
    assert "| mark |" in markdown_summary(summary(table))
    assert summary(table).set_index(["method", "runtime"]).loc[("dense", "eager"), "mark"].startswith("a")
    assert "mark" in shown(records)
    assert "mark" not in shown(records, 80)
    assert "| mark |" not in markdown_table(frame(records))
    assert "mark" not in shown([record("dense")])


def test_behind_the_accuracy_are_means_over_the_seeds() -> None:
    records = run(SHARES, (0, 1, 2))
    table = frame(records)
    rows = table[(table["method"] == "prune") & (table["runtime"] == "eager")]
    line = next(line for line in section(records).splitlines() if line.startswith("| prune"))
    assert f"{100 * rows['agreement_dense'].mean():.2f}" in line
    assert "| 4.00 | 0.300 |" in line
    assert any(name in line for name in NAMES)


def test_a_class_that_falls_is_in_the_table_of_classes_and_remarked_on() -> None:
    rng = np.random.default_rng(1)
    labels = labels_of(2000)
    dense = rng.random(2000) < 0.05
    fallen = dense | ((labels == 3) & (rng.random(2000) < 0.4))
    records = [
        scored(record("dense"), wrong_where(dense, labels), labels),
        scored(record("prune"), wrong_where(fallen, labels), labels),
    ]
    text = section(records)
    inside = labels == 3
    change = 100 * (dense[inside].mean() - fallen[inside].mean())
    assert f"| cat | {change:+.1f} (to {100 * (1 - fallen[inside].mean()):.1f}) |" in text
    assert f"`prune`: cat {change:+.1f} points, where all images together change by" in text
    assert "No class of any of these rows does." in section(run(SHARES))
    control = dataclasses.replace(records[1], role="random", chain="prune:score=random", label="random")
    text = section([*records, control])
    assert re.search(r"\| class \| prune \|\n", text)
    assert "`random`: cat" not in text
    assert "Classes that lose most" not in section(example())


def test_pairs_that_have_one_seed_in_common_in_a_run_of_several_are_spoken_of() -> None:
    records = run(SHARES, (0, 1, 2))
    assert "one seed in common" not in section(records)
    text = section([one for one in records if one.chain != "prune" or one.seed == 1])
    assert "1 to 3 seeds in common" in text
    assert "one seed in common is a pair of networks" in text


def test_no_class_is_named_where_none_loses() -> None:
    [dense, same] = run({"dense": 0.9, "half": 0.9})
    same = dataclasses.replace(same, runtimes=dense.runtimes)
    row = frame([dense, same]).iloc[-1]
    assert (row["worst_class_drop"], row["worst_class"], row["agreement_dense"]) == (0.0, "", 1.0)
    line = next(line for line in section([dense, same]).splitlines() if line.startswith("| half"))
    assert "| – |" in line


def test_more_rows_than_letters_are_held_against_the_best_and_dense_and_the_section_says_so() -> None:
    records = [record("dense", layers=[("fc", (10, 4))])]
    records += [record(f"prune:sparsity={k}", accuracy=0.9, layers=[("fc", (10, 4))]) for k in range(60)]
    text = section(records)
    assert "cannot be told apart from the most accurate one (`best`)" in text
    assert "share a letter" not in text
    assert section([record("dense")]) == ""


def test_differences_of_one_seed_are_paired_by_image_where_images_are_known() -> None:
    records = run({"dense": 0.95, "qat": 0.94})
    scores = [score_of(one, one.runtimes[0].accuracy) for one in records]  # type: ignore[arg-type]
    assert all(one.hits for one in scores)
    gap = paired([(scores[1], scores[0])])
    expected = paired_difference(*scores[1].hits.only(scores[0].hits), 1000)  # type: ignore[union-attr, arg-type]
    assert (gap.low, gap.high) == expected
    assert "paired by image" in gap.how
    counts = paired([tuple(dataclasses.replace(one, hits=None) for one in reversed(scores))])  # type: ignore[list-item]
    assert "Newcombe" in counts.how
    assert counts.low < gap.low < gap.high < counts.high
    assert any("paired by image" in line for line in cannot_be_told_apart(run({"dense": 0.95, "qat": 0.95})))
