"""The strength of methods: stronger never stores more, values can be typed again, and an offender is seen."""

import copy
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bench.artifact import load, save, ship
from bench.grammar import parse_chains
from methods import METHODS, CompressionMethod
from methods.base import Effect, Refused, Strength
from methods.layers import Mask, constrain, weights
from tests.contract import Spy, network

SCALES = [
    Strength("keep", 0.9, 0.005, "log"),
    Strength("sparsity", 0.05, 0.999, "logit"),
    Strength("share", -2.0, 7.0),
    Strength("bits", 8, 2, whole=True),
]
STRONG = {name: kind() for name, kind in METHODS.items() if kind().strength}
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
SLACK = 1.01  # of information: trained values take a little more or less


def information(method):
    """Bits that the file of the tiny network holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.model"
        save(ship(method.compress(network(), Spy().task())), path, {"net": "tiny"})
        return sum(entry.information_bits for entry in load(path).ledger)


def grows(method):
    """The steps towards more strength at which more is stored, as (value, value, bits, bits)."""
    strength = method.strength
    values = list(dict.fromkeys(strength.at(position) for position in POSITIONS))
    bits = [information(dataclasses.replace(method, **{strength.field: value})) for value in values]
    steps = zip(values, values[1:], bits, bits[1:], strict=False)
    return [step for step in steps if step[3] > SLACK * step[2]] or ([] if bits[-1] < bits[0] else ["no smaller"])


@pytest.mark.parametrize("name", STRONG)
def test_a_stronger_method_never_stores_more(name):
    assert grows(STRONG[name]) == []


@dataclass(frozen=True)
class Halving(CompressionMethod):
    """Zeroes the share `dropped` of each weight; keeps the law."""

    dropped: float = 0.5
    effect = Effect.ZEROS_WEIGHTS
    strength = Strength("dropped", 0.05, 0.95)

    def compress(self, model, task):
        model = copy.deepcopy(model).eval()
        for _, layer, name in list(weights(model)):
            tensor = getattr(layer, name).detach()
            kept = torch.arange(tensor.numel()).view_as(tensor) >= self.dropped * tensor.numel()
            constrain(layer, name, Mask.of(kept))
        return model


class TheWrongWayRound(Halving):
    strength = Strength("dropped", 0.95, 0.05)


class Idle(Halving):
    def compress(self, model, task):
        return copy.deepcopy(model).eval()


@pytest.mark.parametrize(("method", "caught"), [(Halving(), False), (TheWrongWayRound(), True), (Idle(), True)])
def test_offenders_are_seen(method, caught):
    assert bool(grows(method)) == caught


@pytest.mark.parametrize("strength", SCALES, ids=lambda one: one.field)
def test_positions_and_values_are_each_others_inverse_and_rise(strength):
    values = [strength.at(step / 7) for step in range(8)]
    assert (values[0], values[-1]) == (strength.weakest, strength.strongest)
    assert len(set(values)) > 5
    assert sorted(values, reverse=strength.strongest < strength.weakest) == values
    for step, value in enumerate(values):
        assert strength.position(value) == pytest.approx(step / 7, abs=0.09 if strength.whole else 2e-4)
    assert strength.at(-3) == strength.weakest
    assert strength.at(3) == strength.strongest


def test_values_are_typed_in_few_digits():
    assert Strength("sparsity", 0.05, 0.999, "logit").at(0.8) == 0.992872
    assert Strength("keep", 0.9, 0.005, "log").at(0.5) == 0.06708
    assert [type(Strength("bits", 8, 2, whole=True).at(step / 3)) for step in range(4)] == [int] * 4


def test_whole_values_are_listed_from_the_weakest():
    assert Strength("bits", 8, 2, whole=True).values() == (8, 7, 6, 5, 4, 3, 2)
    assert Strength("count", 1, 3, whole=True).values() == (1, 2, 3)


@pytest.mark.parametrize("name", METHODS)
def test_strengths_and_variants_are_of_fields_that_the_command_line_takes(name):
    method = METHODS[name]()
    if strength := method.strength:
        assert strength.field in {one.name for one in dataclasses.fields(method)}
        for value in (strength.weakest, strength.strongest):
            assert getattr(dataclasses.replace(method, **{strength.field: value}), strength.field) == value
    for variant in method.variants:
        (chain,) = parse_chains(":".join(filter(None, (name, variant))), METHODS)
        assert chain.stages[0].name == name


@pytest.mark.parametrize(
    ("text", "weakest", "strongest"),
    [("prune:pattern=2of4", 0.5, 0.999), ("prune:pattern=channels", 0.05, 0.95), ("dct:train=frequencies", None, None)],
)
def test_what_else_is_set_decides_on_the_strength(text, weakest, strongest):
    (chain,) = parse_chains(text, METHODS)
    strength = chain.stages[0].method.strength
    assert (strength.weakest, strength.strongest) == (weakest, strongest) if strength else weakest is None


def test_every_strength_is_within_reach_on_the_tiny_network():
    refused = []
    for name, method in STRONG.items():
        for value in (method.strength.weakest, method.strength.strongest):
            try:
                dataclasses.replace(method, **{method.strength.field: value}).check(network())
            except Refused:
                refused.append((name, value))
    assert refused == []
