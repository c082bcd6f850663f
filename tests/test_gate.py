"""Two runs held against each other: nothing changes between a run and itself, signs turn with the order, a planted
regression is caught and one just inside the bound is not."""

import dataclasses
import math
import random
import re

import numpy as np
import pytest

from bench.bounds import parse_bounds
from bench.records import Accuracy
from reports.gate import compare
from reports.gate_page import findings_lines, terminal_diff
from tests.pairs_example import labels_of, run, scored, wrong_where
from tests.records_example import example, failed, record, with_runtime

QUANTITIES = ("accuracy", "size", "params", "macs", "memory", "latency", "latency_b32", "latency_ms", "latency_ms_b32")


def exactly(one, correct, seen=1000):
    """The record with this accuracy in each runtime."""
    results = tuple(dataclasses.replace(r, accuracy=Accuracy(correct, correct, seen)) for r in one.runtimes)
    return dataclasses.replace(one, runtimes=results)


def slower(one, factor, dense=1.0):
    """The record with all latencies so many times as long, and those of dense beside it."""

    def times(taken, by):
        return tuple(
            dataclasses.replace(m, samples=tuple(by * s for s in m.samples)) if m.quantity == "latency" else m
            for m in taken
        )

    results = tuple(
        dataclasses.replace(
            r, measurements=times(r.measurements, factor), dense_measurements=times(r.dense_measurements, dense)
        )
        for r in one.runtimes
    )
    return dataclasses.replace(one, runtimes=results)


def changed(records, chain, change):
    return [change(one) if one.chain == chain else one for one in records]


def failing(old, new, bounds=""):
    found = compare(old, new, parse_bounds(bounds) if bounds else ())
    return {(row.chain, row.runtime): [one.bound or row.state for one in row.findings] for row in found.failing}


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (0, 1, 2)])
def test_a_run_held_against_itself_passes_every_bound_on_becoming_worse_or_better(seeds):
    records = [*example(seeds), failed("wavelet"), failed("dst", status="refused", reason="no such layer")]
    bounds = [f"{name}{side}0" for name in QUANTITIES for side in "<>"] + ["accuracy<0 significantly", "size>+0.1%"]
    found = compare(records, records, parse_bounds(",".join(bounds)))
    assert not found.failing
    for row in found.rows:
        assert row.state == ("trouble" if row.chain in ("wavelet", "dst") else "compared")
        assert not row.significant
        assert all(one.difference == one.percent == 0 for one in row.changes.values())
        assert row.accuracy is None or (row.accuracy.mean == 0 and row.accuracy.low <= 0 <= row.accuracy.high)


def test_swapping_the_runs_turns_the_signs():
    rng = random.Random(7)
    old = run({"dense": 0.8, "prune": 0.75, "qat": 0.78}, seeds=(0, 1, 2), draw=1)
    new = run({"dense": 0.81, "prune": 0.7, "qat": 0.78}, seeds=(0, 1, 2), draw=2)
    new = [slower(dataclasses.replace(one, file_bytes=rng.randint(10**4, 10**5)), rng.uniform(0.5, 2)) for one in new]
    there, back = compare(old, new), compare(new, old)
    assert len(there.rows) == len(back.rows) == 6
    for one, other in zip(there.rows, back.rows, strict=True):
        assert one.accuracy.mean == pytest.approx(-other.accuracy.mean)
        assert (one.accuracy.low, one.accuracy.high) == pytest.approx((-other.accuracy.high, -other.accuracy.low))
        assert one.significant == other.significant
        for name, change in one.changes.items():
            assert change.difference == pytest.approx(-other.changes[name].difference)
            assert (1 + change.percent / 100) * (1 + other.changes[name].percent / 100) == pytest.approx(1)
    assert failing(old, new, "accuracy<-0.3").keys() == failing(new, old, "accuracy>+0.3").keys() != set()


@pytest.mark.parametrize(
    ("bound", "inside", "beyond"),
    [
        ("accuracy<-0.3", lambda one: exactly(one, 897), lambda one: exactly(one, 896)),
        ("accuracy<0", lambda one: exactly(one, 900), lambda one: exactly(one, 899)),
        ("accuracy>+1", lambda one: exactly(one, 910), lambda one: exactly(one, 911)),
        ("size>+2%", lambda one: resized(one, 102), lambda one: resized(one, 103)),
        ("size>0", lambda one: resized(one, 99), lambda one: resized(one, 101)),
        ("size>+3B", lambda one: resized(one, 103), lambda one: resized(one, 104)),
        ("params>+1k", lambda one: dataclasses.replace(one, parameters=one.parameters + 1000),
         lambda one: dataclasses.replace(one, parameters=one.parameters + 1001)),
        ("macs>+10%", lambda one: dataclasses.replace(one, macs=one.macs * 109 // 100),
         lambda one: dataclasses.replace(one, macs=one.macs * 111 // 100)),
        ("latency>+10%", lambda one: slower(one, 1.099), lambda one: slower(one, 1.101)),
        ("latency>+10%", lambda one: slower(one, 4.0, dense=4.0), lambda one: slower(one, 4.0, dense=3.0)),
        ("latency_b32>+10%", lambda one: slower(one, 1.099), lambda one: slower(one, 1.101)),
        ("latency_ms>+10%", lambda one: slower(one, 1.099), lambda one: slower(one, 4.0, dense=4.0)),
        ("latency_ms_b32>+1s", lambda one: slower(one, 1.5), lambda one: slower(one, 1000.0)),
        ("memory>+1MB", lambda one: fatter(one, 999_999), lambda one: fatter(one, 1_000_100)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_change_beyond_the_bound_is_caught_and_one_just_inside_is_not(bound, inside, beyond, seeds):
    old = [exactly(resized(one, 100), 900) for one in example(seeds, runtimes=("eager",))]
    assert not failing(old, changed(old, "prune", inside), bound)
    assert failing(old, changed(old, "prune", beyond), bound) == {("prune", "eager"): [bound]}


def test_a_bound_can_ask_for_an_improvement():
    old = [resized(record("prune"), 100)]
    assert failing(old, old, "size>-10%")
    assert failing(old, [resized(one, 91) for one in old], "size>-10%")
    assert not failing(old, [resized(one, 90) for one in old], "size>-10%")


def resized(one, size):
    return dataclasses.replace(one, file_bytes=size)


def fatter(one, more):
    def grown(result):
        return tuple(
            dataclasses.replace(m, samples=tuple(s + more for s in m.samples)) if m.quantity == "peak_memory" else m
            for m in result.measurements
        )

    return dataclasses.replace(one, runtimes=tuple(dataclasses.replace(r, measurements=grown(r)) for r in one.runtimes))


def test_only_what_is_more_than_noise_fails_where_that_is_asked():
    images = 2000
    labels = labels_of(images)
    rng = np.random.default_rng(3)
    missed = rng.random(images) < 0.2

    def rows(flips, back):
        """Of which `flips` images that were right are wrong, and `back` the other way."""
        now = missed.copy()
        now[np.flatnonzero(~missed)[:flips]] = True
        now[np.flatnonzero(missed)[:back]] = False
        return [scored(record("dense", runtimes=("eager",)), wrong_where(now, labels), labels)]

    old = rows(0, 0)
    noisy, real = rows(110, 90), rows(30, 2)
    assert failing(old, noisy, "accuracy<-0.3")
    assert not failing(old, noisy, "accuracy<-0.3 significantly")
    assert failing(old, real, "accuracy<-0.3 significantly")
    assert not failing(old, real, "accuracy<-2 significantly"), "significant, and yet inside the bound"
    (row,) = compare(old, noisy).rows
    assert "within noise" in terminal_diff(compare(old, noisy), "")[1]
    assert row.accuracy.low < 0 < row.accuracy.high
    assert "within noise" not in terminal_diff(compare(old, real), "")[1]


def test_chance_alone_seldom_fails_any_of_many_rows_that_are_held_to_significance():
    """Of equal accuracy, a row of many is more than 0.3 points lower nearly always, and significantly so seldom."""
    labels = labels_of(600)
    rng = np.random.default_rng(0)

    def rows():
        chains = [record(f"prune:sparsity=0.{k}", runtimes=("eager",)) for k in range(10, 30)]
        return [scored(one, wrong_where(rng.random(len(labels)) < 0.2, labels), labels) for one in chains]

    literal = significant = 0
    for _ in range(20):
        old, new = rows(), rows()
        literal += bool(failing(old, new, "accuracy<-0.3"))
        significant += bool(failing(old, new, "accuracy<-0.3 significantly"))
    assert literal == 20
    assert significant <= 2


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_that_are_gone_or_went_wrong_since_fail_and_new_ones_do_not(seed):
    old = example((0, 1))
    gone = [one for one in old if one.chain != "dct"]
    assert failing(old, gone) == {("dct", "eager"): ["missing"], ("dct", "onnxruntime"): ["missing"]}
    assert not failing(gone, old)
    assert [row.state for row in compare(gone, old).rows if row.chain == "dct"] == ["new", "new"]
    wrong = [failed("dct", seed=seed) if (one.chain, one.seed) == ("dct", seed) else one for one in old]
    assert failing(old, wrong) == {("dct", "eager"): ["failed"], ("dct", "onnxruntime"): ["failed"]}
    assert not failing(wrong, old), "the other seed is compared"
    refused = changed(old, "dct", lambda one: with_runtime(one, "eager", status="refused", reason="no such kernel"))
    assert failing(old, refused) == {("dct", "eager"): ["failed"]}
    assert not failing(refused, old)
    assert not failing(refused, refused)
    lines = findings_lines(compare(old, refused))
    assert any("dct in eager: refused: no such kernel" in line for line in lines)
    assert any(re.match(r"new: in OLD refused: no such kernel \(1 row: dct in eager\)", line)
               for line in findings_lines(compare(refused, old)))  # fmt: skip


def test_a_row_with_other_settings_under_the_same_name_is_said_to_be_that():
    old = [record("dense"), record("dct:keep=0.5", label="dct")]
    new = [record("dense"), record("dct:keep=0.25", label="dct")]
    found = compare(old, new)
    assert {row.state for row in found.rows if row.chain != "dense"} == {"missing", "new"}
    assert "NEW has `dct` with other settings: `dct:keep=0.25`" in "\n".join(findings_lines(found))


def test_seeds_are_those_of_both_runs_and_none_in_common_is_missing():
    old = [exactly(record("dense", seed=seed), 900) for seed in (0, 1)]
    new = [exactly(record("dense", seed=seed), correct) for seed, correct in ((1, 900), (2, 10))]
    found = compare(old, new, parse_bounds("accuracy<-0.3"))
    assert not found.failing
    assert found.rows[0].seeds == (1,)
    assert "seed 0 only in OLD; seed 2 only in NEW (2 rows" in "\n".join(findings_lines(found))
    assert failing(old[:1], new[1:]) == {("dense", "eager"): ["missing"], ("dense", "onnxruntime"): ["missing"]}


def test_controls_are_shown_and_fail_nothing():
    control = dataclasses.replace(exactly(record("half", like="dense"), 900), role="half", control_of=("dct",))
    old = [*example(), control]
    worse = exactly(resized(control, 10**9), 100)
    for new in ([*example(), worse], example()):
        found = compare(old, new, parse_bounds("accuracy<-0.3,size>+2%"))
        assert not found.failing
        assert [row.is_control for row in found.rows if row.chain == "half"] == [True, True]
    asked = dataclasses.replace(worse, role="asked", control_of=())
    assert failing(old, [*example(), asked], "size>+2%").keys() == {("half", "eager"), ("half", "onnxruntime")}


def test_what_is_measured_no_more_fails_and_what_never_was_cannot_be_held():
    old = example()
    bare = [with_runtime(one, "eager", measurements=(), dense_measurements=()) for one in old]
    found = failing(old, bare, "latency>+10%,memory>+1MB")
    assert found[("dct", "eager")] == ["latency>+10%", "memory>+1MB"]
    assert found[("dense", "eager")] == ["memory>+1MB"], "dense has no latency beside dense"
    assert {runtime for _, runtime in found} == {"eager"}
    with pytest.raises(ValueError, match=r"latency>\+10% cannot be held: OLD has no latency"):
        failing([record("dense")], [record("dense")], "latency>+10%")
    assert not failing([record("dense")], [record("dense")], "latency_ms>+10%")
    undense = [one for one in old if one.chain != "dense"]
    assert not failing(undense, undense, "latency>+10%,accuracy<0"), "what was timed by turns with it is in the rows"
    nan = dataclasses.replace(old[0].runtimes[0].measurements[0], samples=(math.nan,))
    assert failing(old, changed(old, "dct", lambda one: with_runtime(one, "eager", measurements=(nan,))),
                   "latency>+10%") == {("dct", "eager"): ["latency>+10%"]}  # fmt: skip


def test_runs_with_nothing_in_common_are_no_comparison():
    with pytest.raises(ValueError, match="nothing in common: OLD is resnet18 on digits, NEW is lenet on digits"):
        compare(example(), [dataclasses.replace(one, net="lenet") for one in example()])
