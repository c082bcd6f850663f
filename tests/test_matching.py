"""Matching: a target is hit within 3 % where a method is monotone, and what cannot be hit says how near it came."""

import math
from dataclasses import dataclass

import pytest

from bench.goals import Target
from bench.grammar import parse_chains
from bench.laboratory import UNTRAINED, Trial
from bench.matching import WITHIN, inverse, knobs_of, match
from methods import METHODS
from methods.base import CompressionMethod, Effect, Strength

DENSE_BYTES = 100_000


@dataclass(frozen=True)
class Squeeze(CompressionMethod):
    """Never run: the laboratory below says what comes of it."""

    keep: float = 0.5
    odd: int = 0
    effect = Effect.ZEROS_WEIGHTS
    strength = Strength("keep", 1.0, 0.001, "log")

    def __post_init__(self):
        if self.keep < 0.002 * self.odd:
            raise ValueError(f"keep must be larger, got {self.keep}")

    def compress(self, model, task):
        raise AssertionError


@dataclass(frozen=True)
class Steps(Squeeze):
    keep: int = 8
    effect = Effect.LOWERS_PRECISION
    strength = Strength("keep", 8, 1, whole=True)


KINDS = {**METHODS, "squeeze": Squeeze, "steps": Steps}


def chain_of(text):
    (chain,) = parse_chains(text, KINDS)
    return chain


class Laboratory:
    """Says what a chain gives by a formula; counts what it is asked."""

    def __init__(self, size=lambda keep: keep, trained=1.0, drop=lambda keep: 0.0, refuses=lambda keep: False):
        self.size, self.trained, self.drop, self.refuses = size, trained, drop, refuses
        self.asked = []

    def chain_of(self, text):
        return chain_of(text)

    def dense(self, *, latency=False):
        return Trial("dense", "dense", 0, 2, "ok", "", DENSE_BYTES, 1, 1, 0.9, 1.0, 1.0)

    def trial(self, chain, epochs=None, *, latency=False):
        keeps = {stage.name: stage.method.keep for stage in chain.stages if hasattr(stage.method, "keep")}
        keep = keeps.get("squeeze", 1.0) * keeps.get("steps", 8) / 8
        self.asked.append((keep, epochs))
        if self.refuses(keep):
            return Trial(chain.text, chain.label, 0, 2, "refused", f"{keep:g} is too little")
        share = self.size(keep) * (1.0 if epochs == UNTRAINED else self.trained)
        accuracy = 0.9 - self.drop(keep) / 100
        clock = (share, 1.0) if latency else (math.nan, math.nan)
        return Trial(chain.text, chain.label, 0, 2, "ok", "", round(DENSE_BYTES * share), 1, 1, accuracy, *clock)

    @property
    def whole(self):
        return [keep for keep, epochs in self.asked if epochs != UNTRAINED]


@pytest.mark.parametrize("quantity", ["size", "latency"])
@pytest.mark.parametrize("ratio", [1.5, 8.0, 100.0, 300.0])
@pytest.mark.parametrize("trained", [1.0, 0.8, 1.3])
@pytest.mark.parametrize("size", [lambda k: k, lambda k: 0.002 + 0.9 * k**1.7, lambda k: math.ceil(400 * k) / 400])
def test_a_monotone_method_hits_the_target_within_3_percent_in_few_whole_trials(size, trained, ratio, quantity):
    laboratory = Laboratory(size, trained)
    found = match(laboratory, chain_of("squeeze"), Target(quantity, ratio))
    within = abs(found.reached / ratio - 1) <= WITHIN + 1e-9
    by_steps = size(0.0001) == 1 / 400 and ratio > 30  # steps are wider than 3 % there
    assert (found.status, within) == ("reached", True) or (by_steps and found.status in ("nearest", "refused"))
    assert found.trials == len(laboratory.whole) <= 6


def test_where_training_changes_nothing_one_whole_trial_is_enough():
    laboratory = Laboratory()
    found = match(laboratory, chain_of("squeeze"), Target("size", 10))
    assert (found.trials, found.status) == (1, "reached")
    assert found.label.startswith("squeeze:keep=0.1")
    assert chain_of(found.label).text == found.chain


@pytest.mark.parametrize(("ratio", "nearest"), [(2000.0, "1e+03x"), (1.2, "2x")])
def test_a_target_out_of_reach_is_refused_with_the_nearest(ratio, nearest):
    laboratory = Laboratory(lambda keep: min(0.5, keep))
    found = match(laboratory, chain_of("squeeze"), Target("size", ratio))
    assert (found.status, found.label) == ("refused", "")
    assert f"out of reach: the nearest found is {nearest}" in found.reason


def test_whole_values_give_the_nearest_setting_and_say_that_it_is_not_within_3_percent():
    found = match(Laboratory(), chain_of("steps"), Target("size", 3.0))
    assert (found.status, found.label) == ("nearest", "steps:keep=3")
    assert "not within 3 %" in found.reason
    hit = match(Laboratory(), chain_of("steps"), Target("size", 4.0))
    assert (hit.status, hit.label, hit.reason) == ("reached", "steps:keep=2", "")


def test_the_last_open_strength_is_searched_first_and_an_earlier_one_where_it_cannot_reach():
    assert [knob.index for knob in knobs_of(chain_of("squeeze+steps"))] == [1, 0]
    last = match(Laboratory(), chain_of("squeeze:keep=0.5+steps"), Target("size", 4.0))
    assert last.label == "squeeze:keep=0.5+steps:keep=4"
    earlier = match(Laboratory(), chain_of("squeeze+steps"), Target("size", 100.0))
    assert earlier.status == "reached"
    assert earlier.label.startswith("squeeze:keep=0.01")
    assert earlier.label.endswith("+steps")


@pytest.mark.parametrize("text", ["half", "squeeze:keep=0.3", "squeeze:keep=0.3+half"])
def test_a_chain_without_an_open_strength_is_refused(text):
    found = match(Laboratory(), chain_of(text), Target("size", 4.0))
    assert (found.status, found.reason) == ("refused", "it has no strength that is left open: take a value out of it")


@pytest.mark.parametrize(("points", "keep"), [(0.5, 0.1), (3.0, 0.002), (0.01, 0.9)])
def test_of_a_drop_the_smallest_file_within_it_is_found(points, keep):
    def drop(kept):
        return 0.05 / kept

    found = match(Laboratory(drop=drop), chain_of("squeeze"), Target("drop", points))
    least = drop(1.0) > points
    spare = points - (found.reached if not least else 0)
    assert found.status == ("refused" if least else "reached" if spare <= 0.03 * points else "nearest")
    assert (found.status != "nearest") or f"{spare:.2f} points to spare" in found.reason
    if not least:
        assert found.reached <= points + 1e-9
        assert found.file_bytes == pytest.approx(DENSE_BYTES * max(0.001, 0.05 / points), rel=0.12)
    else:
        assert "the least drop found is 0.05 points" in found.reason


def test_a_drop_that_is_well_within_the_target_is_not_called_there():
    found = match(Laboratory(drop=lambda keep: -0.5 if keep > 0.4 else 9.0), chain_of("squeeze"), Target("drop", 0.5))
    assert (found.status, found.reached) == ("nearest", pytest.approx(-0.5))
    assert "1.00 points to spare" in found.reason


def test_of_a_drop_with_whole_values_the_strongest_within_it_is_found():
    laboratory = Laboratory(drop=lambda keep: 1 - keep)
    found = match(laboratory, chain_of("steps"), Target("drop", 0.5))
    assert (found.label, found.reached) == ("steps:keep=4", pytest.approx(0.5))
    assert len(laboratory.whole) <= 4


def test_settings_that_are_refused_are_gone_around():
    laboratory = Laboratory(refuses=lambda keep: keep < 0.02)
    assert match(laboratory, chain_of("squeeze"), Target("size", 40)).status == "reached"
    beyond = match(laboratory, chain_of("squeeze"), Target("size", 400))
    assert beyond.status == "refused"
    everywhere = match(Laboratory(refuses=lambda keep: True), chain_of("squeeze"), Target("size", 40))
    assert (everywhere.status, everywhere.trials) == ("refused", 0)
    assert "is too little" in everywhere.reason
    narrow = match(Laboratory(), chain_of("squeeze:odd=20"), Target("size", 20))  # keep below 0.04 cannot be
    assert narrow.status == "reached"


def test_the_inverse_asks_for_each_value_once_and_not_too_often():
    asked = []

    def level(value):
        asked.append(value)
        return -math.log(value)

    value = inverse(level, Squeeze.strength, math.log(37))
    assert value == pytest.approx(1 / 37, rel=0.005)
    assert len(asked) == len(set(asked)) <= 15
    assert inverse(lambda value: None, Squeeze.strength, 1.0) is None
