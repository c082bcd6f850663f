"""The grammar of --methods: what it means, and that mistakes are told in one line that helps."""

from dataclasses import dataclass
from typing import Literal

import pytest

from baselines.errors import UsageError
from bench.grammar import parse_chains
from methods.base import CompressionMethod, Effect


@dataclass(frozen=True)
class Shrink(CompressionMethod):
    effect = Effect.REPLACES_LAYERS
    keep: float = 0.5
    layers: Literal["all", "conv", "linear"] = "all"

    def __post_init__(self):
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must be in (0, 1], got {self.keep}: pass the fraction to keep")

    def compress(self, model, task):
        return model


@dataclass(frozen=True)
class Mask(CompressionMethod):
    effect = Effect.ZEROS_WEIGHTS
    sparsity: float = 0.9
    steps: int = 1
    exact: bool = False
    teacher: str = ""

    def compress(self, model, task):
        return model


@dataclass(frozen=True)
class Round(CompressionMethod):
    effect = Effect.LOWERS_PRECISION
    bits: int = 8

    def compress(self, model, task):
        return model


METHODS = {"shrink": Shrink, "mask": Mask, "round": Round}


def texts(methods, layers="all"):
    return [chain.text for chain in parse_chains(methods, METHODS, layers)]


def test_chains_stages_and_hyperparameters():
    (chain,) = parse_chains("shrink:keep=0.25:layers=linear+round:bits=4", METHODS)
    assert [stage.method for stage in chain.stages] == [Shrink(0.25, "linear"), Round(4)]
    assert chain.label == "shrink:keep=0.25:layers=linear+round:bits=4"


def test_slashes_expand_into_one_row_each_in_order():
    assert texts("mask:sparsity=0.5/0.8:steps=1/2+round:bits=8/4") == [
        f"mask:sparsity={sparsity}:steps={steps}:exact=False:teacher=+round:bits={bits}"
        for sparsity in (0.5, 0.8)
        for steps in (1, 2)
        for bits in (8, 4)
    ]


def test_canonical_text_does_not_depend_on_how_it_was_typed():
    assert texts("shrink, shrink:keep=.5 ,shrink:layers=all:keep=0.50") == texts("shrink")


def test_layers_option_fills_in_only_what_the_chain_leaves_open():
    assert texts("shrink,shrink:layers=conv,mask", layers="linear") == [
        "shrink:keep=0.5:layers=linear",
        "shrink:keep=0.5:layers=conv",
        "mask:sparsity=0.9:steps=1:exact=False:teacher=",
    ]


def test_quotes_hold_separators():
    (chain,) = parse_chains("mask:teacher='a/b,c+d:e.pt':exact=true", METHODS)
    assert chain.stages[0].method == Mask(teacher="a/b,c+d:e.pt", exact=True)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("shrimk", "unknown method 'shrimk': did you mean 'shrink'?"),
        ("shrink:kep=0.1", "no hyperparameter 'kep': did you mean 'keep'?"),
        ("shrink:keep=1.5", r"keep must be in \(0, 1\], got 1.5"),
        ("shrink:keep=lots", "keep must be a number, got 'lots'"),
        ("shrink:keep=nan", "must be a finite number"),
        ("shrink:layers=cov", "must be one of all, conv, linear, got 'cov'"),
        ("mask:steps=1.5", "must be a whole number, got '1.5'"),
        ("mask:exact=False/maybe", "must be true or false, got 'maybe'"),
        ("mask:sparsity", "not key=value"),
        ("mask:sparsity=0.1:sparsity=0.2", "set twice"),
        ("shrink,,mask", "empty entry"),
        ("", "empty entry"),
        ("shrink++mask", "empty stage"),
        ("mask:teacher='a", "without its closing one"),
        ("round+shrink", "shrink cannot come after round, it would replace the tensors that were quantised"),
        ("round+mask", "mask cannot come after round"),
        ("mask+shrink", "would replace the tensors whose entries were set to zero"),
    ],
)
def test_mistakes_are_told_in_one_line(typed, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse_chains(typed, METHODS)
    assert "\n" not in str(caught.value)


def test_false_is_not_true():
    (chain,) = parse_chains("mask:exact=False", METHODS)
    assert chain.stages[0].method.exact is False
