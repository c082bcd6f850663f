"""Laws of marks: equal letters where rows cannot be told apart, whatever the order of the records, at any number."""

from __future__ import annotations

import dataclasses
import random
import time

import numpy as np
import pytest
from scipy import stats

from reports.classes import falls, falls_on_the_whole, known_pairs, much_more, name_of, worst
from reports.hits import Hits, hits_of
from reports.marks import LETTERED, line_marks, marked
from reports.rows import frame, summary
from tests.pairs_example import NAMES, labels_of, run, scored, wrong_where
from tests.records_example import example, failed, record, with_runtime

SHARES = {"dense": 0.95, "qat": 0.948, "ptq": 0.92, "dct": 0.91, "prune": 0.7}


@pytest.mark.parametrize("seeds", [(0,), (3, 1), (0, 1, 2)])
@pytest.mark.parametrize("draw", range(3))
def test_rows_share_a_letter_exactly_if_they_are_not_told_apart_and_the_best_has_an_a(
    seeds: tuple[int, ...], draw: int
) -> None:
    [found] = marked(run(SHARES, seeds, images=600, spread=0.003, draw=draw))
    assert found.lettered
    texts = dict(zip((row.chain for row in found.rows), found.texts, strict=True))
    assert len(found.pairs) == len(SHARES) * (len(SHARES) - 1) / 2
    for pair in found.pairs:
        assert bool(set(texts[pair.first.chain]) & set(texts[pair.second.chain])) != pair.apart
        assert pair.first.share >= pair.second.share
        assert pair.seeds == len(seeds)
    assert texts[found.rows[0].chain].startswith("a")
    shares = [row.share for row in found.rows]
    assert shares == sorted(shares, reverse=True)


def test_letters_of_one_seed_are_those_of_scipys_test_and_holms_correction_by_hand() -> None:
    records = run(SHARES, images=600)
    [found] = marked(records)
    hits = {one.chain: hits_of(one, one.runtimes[0].accuracy) for one in records}
    p_values = []
    for pair in found.pairs:
        up, down = hits[pair.first.chain].only(hits[pair.second.chain])  # type: ignore[union-attr, arg-type]
        p_values.append(stats.binomtest(up, up + down).pvalue if up + down else 1.0)
    adjusted, largest = {}, 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, p_values[index] * (len(p_values) - rank))
        adjusted[index] = largest
    assert [adjusted[index] <= 0.05 for index in range(len(p_values))] == [pair.apart for pair in found.pairs]
    assert {pair.apart for pair in found.pairs} == {True, False}


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_order_of_the_records_does_not_matter(seeds: tuple[int, ...]) -> None:
    records = run(SHARES, seeds, images=400, spread=0.01)
    mixed = records[:]
    random.Random(4).shuffle(mixed)
    assert marked(mixed) == marked(records)


def test_with_two_seeds_little_is_told_apart_with_three_much_more() -> None:
    apart = {n: sum(pair.apart for pair in marked(run(SHARES, range(n), spread=0.004))[0].pairs) for n in (2, 3)}
    assert 2 * apart[2] < apart[3]
    assert apart[3] >= 6


def test_a_mark_stands_only_where_the_accuracy_was_compared() -> None:
    records = run(SHARES)
    broken = with_runtime(records[2], "eager", status="failed", reason="planted", accuracy=None)
    records[2] = dataclasses.replace(broken, runtimes=broken.runtimes)
    table = frame([*records, failed("x")], line_marks(marked(records)))
    marks = {(row.method, row.runtime): row.mark for row in table.itertuples()}
    assert marks["dense", "eager"].startswith("a")
    assert marks["dense", "onnxruntime"] == ""
    assert (marks["ptq", "eager"], bool(marks["ptq", "onnxruntime"])) == ("", True)
    assert marks["x", ""] == ""


def test_a_row_alone_and_no_row_have_no_mark() -> None:
    assert marked([failed("x")]) == []
    [found] = marked([record("dense")])
    assert (found.texts, found.pairs) == (("",), ())


def test_networks_and_data_sets_are_marked_by_themselves() -> None:
    other = [dataclasses.replace(one, net="lenet", case_id=f"other-{one.case_id}") for one in run(SHARES, draw=1)]
    found = marked([*run(SHARES), *other])
    assert [(one.net, len(one.rows)) for one in found] == [("lenet", 5), ("resnet18", 5)]
    assert [one for one in found if one.net == "resnet18"] == marked(run(SHARES))


def test_records_without_predictions_are_marked_by_their_counts() -> None:
    [found] = marked(example())
    assert found.lettered
    assert len(set(found.texts)) == 1  # of 360 images, less than two points apart


def test_hundreds_of_rows_are_held_against_the_best_and_dense_and_fast() -> None:
    rows = 300
    chains = ["dense", *(f"prune:sparsity={k}" for k in range(rows - 1))]
    labels = labels_of(10_000)
    rng = np.random.default_rng(0)
    records = [
        scored(record(chain, like="dense", runtimes=("eager",), layers=[("fc", (10, 4))]),
               wrong_where(rng.random(10_000) < 0.1 + 0.001 * index, labels), labels)
        for index, chain in enumerate(chains)
    ]  # fmt: skip
    begin = time.perf_counter()
    [found] = marked(records)
    taken = time.perf_counter() - begin
    assert not found.lettered
    assert len(found.pairs) <= 2 * rows
    best = found.rows[0].chain
    apart = {frozenset((pair.first.chain, pair.second.chain)): pair.apart for pair in found.pairs}
    for row, text in found.with_marks:
        for word, chain in (("best", best), ("dense", "dense")):
            assert (word in text) == (row.chain == chain or not apart[frozenset((row.chain, chain))])
    assert {"best" in text for text in found.texts} == {True, False}
    assert taken < 3, "about 0.5 s on an idle core"


def test_as_many_rows_as_have_letters_have_them() -> None:
    records = [record(f"prune:sparsity={k}", accuracy=0.9, layers=[("fc", (10, 4))]) for k in range(LETTERED + 1)]
    assert marked(records[:-1])[0].lettered
    assert not marked(records)[0].lettered


# Beside dense, image by image


def hits(missed: np.ndarray, labels: np.ndarray) -> Hits:
    one = scored(record("x", like="dense", runtimes=("eager",)), wrong_where(missed, labels), labels)
    found = hits_of(one, one.runtimes[0].accuracy)
    assert found is not None
    return found


def test_hits_and_classes_are_those_of_a_naive_count() -> None:
    rng = np.random.default_rng(8)
    labels = labels_of(503)
    first, second = rng.random(503) < 0.2, rng.random(503) < 0.4
    own, other = hits(first, labels), hits(second, labels)
    assert own.only(other) == (int((~first & second).sum()), int((first & ~second).sum()))
    for index in range(len(NAMES)):
        assert own.class_sizes[index] == (labels == index).sum()
        assert own.by_class[index] == (~first & (labels == index)).sum()
    for fall in falls([(other, own)]):
        inside = labels == fall.index
        assert fall.fall == pytest.approx(second[inside].mean() - first[inside].mean())
        assert fall.dense == pytest.approx(1 - first[inside].mean())
    assert falls_on_the_whole([(other, own)]) == [pytest.approx(second.mean() - first.mean())]


def test_table_columns_are_those_of_a_naive_count() -> None:
    records = run({"dense": 0.95, "prune": 0.8}, (0, 1), images=501)
    table = frame(records)
    labels = labels_of(501)
    for seed in (0, 1):
        missed = {one.chain: np.ones(501, bool) for one in records}
        for one in records:
            if one.seed == seed:
                bits = hits_of(one, one.runtimes[0].accuracy)
                assert bits is not None
                missed[one.chain] = np.array([digit == "0" for digit in f"{bits.images:0501b}"])
        falls_of = [
            missed["prune"][labels == index].mean() - missed["dense"][labels == index].mean()
            for index in range(len(NAMES))
        ]
        row = table[(table["method"] == "prune") & (table["seed"] == seed)].iloc[0]
        assert row["worst_class_drop"] == pytest.approx(max(falls_of))
        assert row["worst_class"] == NAMES[int(np.argmax(falls_of))]
        assert row["agreement_dense"] == pytest.approx((missed["prune"] == missed["dense"]).mean())
        assert (row["ece"], row["log_loss"]) == (0.04, 0.3)
    dense = table[table["method"] == "dense"].iloc[0]
    assert (dense["agreement_dense"], dense["worst_class"]) == (1.0, "")
    assert dense[["worst_class_drop"]].isna().all()
    mean = summary(table).set_index(["method", "runtime"]).loc[("prune", "eager"), "worst_class_drop_mean"]
    assert mean == pytest.approx(table[table["method"] == "prune"]["worst_class_drop"].astype(float).mean())


def test_without_labels_nothing_is_said_of_classes() -> None:
    table = frame(example())
    assert table[["agreement_dense", "worst_class_drop", "ece", "log_loss"]].isna().all(axis=None)
    assert set(table["worst_class"]) == {""}
    assert known_pairs([(None, None)]) == []
    assert worst(falls([])) is None


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_class_that_loses_much_more_than_the_others_is_remarked_on_and_no_other(seeds: int) -> None:
    rng = np.random.default_rng(11)
    labels = labels_of(2000)
    pairs, evenly = [], []
    for _ in range(seeds):
        dense = rng.random(2000) < 0.1
        one = dense | (rng.random(2000) < np.where(labels == 3, 0.4, 0.02))
        pairs.append((hits(one, labels), hits(dense, labels)))
        evenly.append((hits(dense | (rng.random(2000) < 0.3), labels), hits(dense, labels)))
    assert [(fall.index, fall.fall > 0.3) for fall in much_more(known_pairs(pairs))] == [(3, True)]
    assert much_more(known_pairs(evenly)) == []
    assert name_of(3, NAMES) == "cat"
    assert name_of(7, NAMES) == "7"
