"""Chains beside their parts, and orders beside each other."""

from __future__ import annotations

import dataclasses
import io

import pandas as pd
import pytest

from bench.records import RunRecord
from reports.chain_gains import Orders, chains_csv, faster, gains, orders, refused_orders, together
from reports.chains_page import chains_section
from reports.controls import LARGER, SMALLER, TRADE
from reports.page import page
from reports.pairing import ALIKE, BETTER, WORSE
from tests.controls_example import PRUNE, PTQ, controlled, refused_control, row, sized, without

CHAIN, BACK = f"{PRUNE}+{PTQ}", f"{PTQ}+{PRUNE}"


def test_a_chains_gain_is_held_against_the_product_of_its_parts() -> None:
    (gain,) = gains(controlled())
    assert gain.compression == 25.0
    assert gain.parts_compression == pytest.approx(1e6 / 150e3 * 4)
    assert (gain.drop, gain.parts_drop) == (pytest.approx(0.0040), pytest.approx(0.0025))
    (speed,) = faster(gain)
    assert (speed.speedup, speed.parts_speedup) == (pytest.approx(2.0), pytest.approx(2.0))


def test_over_seeds_there_is_a_mean_and_an_interval_and_of_one_seed_none() -> None:
    records = controlled((0, 1, 2))
    records = [sized(one, 40_000 + 4_000 * one.seed) if one.chain == CHAIN else one for one in records]
    (found,) = together(records)
    assert found.seeds == (0, 1, 2)
    assert found.quotient.mean == pytest.approx(0.9375 * (40 * 40 * 40 / (40 * 44 * 48)) ** (1 / 3))
    assert found.quotient.low < found.quotient.mean < found.quotient.high
    assert found.more_drop.mean == pytest.approx(0.0015)
    (alone,) = together(controlled())
    assert alone.quotient.low != alone.quotient.low  # not a number
    assert " to " not in chains_section(controlled()).split("| prune")[1].splitlines()[0]


@pytest.mark.parametrize("missing", [PRUNE, PTQ, "dense"])
def test_without_a_part_or_dense_there_is_no_gain(missing: str) -> None:
    assert gains(without(controlled(), missing)) == []
    assert chains_section(without(controlled(), missing)) == ""


def test_parts_are_those_of_the_same_seed_network_and_settings() -> None:
    other = [dataclasses.replace(one, seed=1) if one.chain == PTQ else one for one in controlled()]
    assert gains(other) == []
    other = [dataclasses.replace(one, net="vgg") if one.chain == PTQ else one for one in controlled()]
    assert gains(other) == []
    other = [dataclasses.replace(one, chain="ptq:bits=4") if one.chain == PTQ else one for one in controlled()]
    assert gains(other) == []


def test_a_part_may_be_there_as_a_control_and_a_control_is_no_chain_of_its_own() -> None:
    half = [dataclasses.replace(one, role="half") if one.chain == PTQ else one for one in controlled()]
    assert [one.record.chain for one in gains(half)] == [CHAIN]
    random = [dataclasses.replace(one, role="random") if one.chain == CHAIN else one for one in controlled()]
    assert gains(random) == []


def test_the_csv_has_a_line_a_chain_seed_and_runtime() -> None:
    table = pd.read_csv(io.StringIO(chains_csv(controlled((0, 1)))))
    assert table["seed"].tolist() == [0, 1]
    assert table["compression_quotient"].tolist() == pytest.approx([0.9375, 0.9375])
    assert (table["compression_ratio"] / table["parts_compression_ratio"]).tolist() == pytest.approx([0.9375] * 2)
    assert table["runtime"].tolist() == ["eager", "eager"]


def reordered(correct: int, file_bytes: int) -> list[RunRecord]:
    return [*controlled(), sized(row(BACK, correct, role="order", of=[CHAIN]), file_bytes)]


@pytest.mark.parametrize(
    ("correct", "file_bytes", "expected"),
    [
        (9660, 40_000, ALIKE),
        (9640, 40_000, ALIKE),
        (9300, 40_000, BETTER),
        (9300, 60_000, BETTER),
        (9690, 60_000, SMALLER),
        (9650, 60_000, BETTER),
        (9950, 40_000, WORSE),
        (9950, 30_000, WORSE),
        (9660, 30_000, LARGER),
        (9950, 60_000, TRADE),
    ],
)
def test_which_order_is_better_turns_with_the_numbers(correct: int, file_bytes: int, expected: str) -> None:
    (found,) = orders(reordered(correct, file_bytes))
    assert isinstance(found, Orders)
    assert (found.first.chain, found.second.chain) == (CHAIN, BACK)
    assert found.verdict == expected
    assert f"**{expected}**" in chains_section(reordered(correct, file_bytes))


def test_an_order_in_the_asked_direction_has_its_gain_as_well() -> None:
    assert {one.record.chain for one in gains(reordered(9660, 40_000))} == {CHAIN, BACK}


def test_other_settings_are_no_other_order() -> None:
    other = sized(row(f"ptq:bits=4+{PRUNE}", 9660, role="order"), 40_000)
    assert orders([*controlled(), other]) == []


def test_refused_orders_are_told_with_their_reasons_and_not_as_something_wrong() -> None:
    records = [*controlled(), refused_control("order", BACK, [CHAIN], "prune cannot come after ptq, which rounds")]
    assert [one.chain for one in refused_orders(records)] == [BACK]
    section = chains_section(records)
    assert f"`{BACK}`: refused: prune cannot come after ptq, which rounds" in section
    assert page(records, title="t", command="c").count("which rounds") == 1


def test_speed_is_compared_only_in_runtimes_that_timed_all() -> None:
    records = controlled()
    untimed = [
        dataclasses.replace(one, runtimes=tuple(dataclasses.replace(r, measurements=()) for r in one.runtimes))
        if one.chain == PTQ
        else one
        for one in records
    ]
    (gain,) = gains(untimed)
    assert list(faster(gain)) == []
    assert "speed-up / product" not in chains_section(untimed)
    assert "speed-up / product" in chains_section(records)
