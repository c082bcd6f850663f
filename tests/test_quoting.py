"""Texts in texts: whatever a value holds, quoting it and reading it back gives it again, to any depth."""

import re

import pytest

from baselines.errors import UsageError
from bench.grammar import parse_chains
from methods import METHODS
from methods.quoting import quoted, split, unquoted
from reports.chains import parse

AWKWARD = ["", "plain", " a", "a,b", "a+b:c/d", "it's", 'say "x"', "'", '"', "''", "both ' and \"", "'a'+\"b\"", "é,ü"]


@pytest.mark.parametrize("text", AWKWARD)
def test_what_is_quoted_reads_back_and_is_no_separator_to_anyone(text):
    within = text
    for _ in range(4):
        value = quoted(within)
        assert unquoted(value) == within
        for separator in ",+:/":
            assert split(value, separator) == [value]
            assert split(f"a{separator}{value}{separator}b", separator) == ["a", value, "b"]
        within = f"of={value}:x=1"


def test_what_needs_no_quotes_has_none():
    assert [quoted(text) for text in ("0.5", "first last", "None", "lookahead_bn")] == [
        "0.5", "first last", "None", "lookahead_bn",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a'b", "'", "'a''", "\"a'"])
def test_an_open_quote_is_an_error(text):
    with pytest.raises(ValueError, match="without its closing one"):
        split(text, ",")


INNER = "ensemble:of='dense,prune:sparsity=0.5+ptq':seeds=2"
TYPED = [
    "ensemble",
    INNER,
    f'ensemble:of="{INNER},qat"',
    f"ensemble:of={quoted(f'ensemble:of={quoted(INNER)}:seeds=2,half')}",
    "small:like='prune:sparsity=0.9+ptq'",
    f"small:like={quoted(INNER)}",
    "prune+xz",
]


@pytest.mark.parametrize("typed", TYPED)
def test_canonical_text_reads_back_as_the_same_chain_here_and_in_reports(typed):
    (chain,) = parse_chains(typed, METHODS)
    (again,) = parse_chains(chain.text, METHODS)
    assert again.text == chain.text
    assert [stage.method for stage in again.stages] == [stage.method for stage in chain.stages]
    assert [name for name, _ in parse(chain.text)] == [stage.name for stage in chain.stages]
    for (_, settings), stage in zip(parse(chain.text), chain.stages, strict=True):
        assert {key: unquoted(text) for key, text in settings} == {
            key: str(getattr(stage.method, key)) for key, _ in settings
        }


def test_members_are_held_in_canonical_text_so_that_the_id_hangs_on_all_of_their_settings():
    short, long = (parse_chains(f"ensemble:of='{of}'", METHODS)[0] for of in ("ptq, half,half", "half:layers=all,ptq"))
    assert {"half:dtype=bf16:layers=all", parse_chains("ptq", METHODS)[0].text} == set(
        split(short.stages[0].method.of, ",")
    )
    assert sorted(split(short.stages[0].method.of, ",")) == sorted(split(long.stages[0].method.of, ","))


def test_the_option_layers_holds_for_members_too():
    (chain,) = parse_chains("ensemble:of='dense,prune'", METHODS, "linear")
    assert chain.stages[0].chains[1].stages[0].method.layers == "linear"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("ensemble:of='prun,ptq'", "unknown method 'prun': did you mean 'prune'"),
        ("ensemble:of='ptq+prune,dense'", "the chain ptq.prune cannot work: prune cannot come after ptq"),
        ("ensemble:of='ptq,dense'+ptq", "ptq cannot come after ensemble, which takes what ptq made: its precision"),
        (
            "ensemble:of=\"ensemble:of='qat,dense'\"+prune",
            "prune cannot come after ensemble, which takes what qat made",
        ),
        ("ensemble:of='ptq,,dense'", "ensemble:of 'ptq,,dense' has an empty entry"),
        ("ensemble:of=''", "has an empty entry"),
        ("ensemble:seeds=1", "an ensemble has two members at least, got 'dense'"),
        ("ensemble:seeds=0", "seeds must be at least 1, got 0"),
        ("ensemble:of='dense", "without its closing one"),
        ("prune+ensemble", "drop what had been done"),
        ("dense", "unknown method 'dense'"),
        ("small:like='ptq,qat'", "like must be one chain, got 2"),
        ("small:bytes=-1", "bytes must be 0 or more, got -1"),
        ("longer:extra=-1", "extra must be 0 or more, got -1"),
        ("prune+longer", "it trains the dense network on, which comes first"),
        ("xz+prune", "how the file is written is said last"),
        ("xz+xz", "how the file is written is said last"),
    ],
)
def test_impossible_members_and_orders_are_told_when_the_command_is_read(typed, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse_chains(typed, METHODS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("typed", ["ensemble:of='ptq,dense'+distill:teacher=input+ptq", "ensemble:of='prune,dct'+ptq"])
def test_what_was_done_before_another_network_was_put_in_place_is_nothing_to_those_that_follow(typed):
    assert len(parse_chains(typed, METHODS)) == 1


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("distill:teacher=/nets/x.nnc", "distill:teacher='...'"),
        ("distill:teacher=runs/x.nnc/", "distill:teacher='...'"),
        ("ensemble:of=prune:sparsity=0.5", "ensemble:of='...'"),
        ("distill:student=my/net.py:make", "distill:student='...'"),
        ("distill:student=timm:resnet18", "distill:student='...'"),
        ("prune:teacher=student:widths=16-32", "prune:teacher='...'"),
    ],
)
def test_a_name_that_was_taken_apart_is_told_to_go_in_quotes(typed, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_chains(typed, METHODS)


def test_a_path_that_was_taken_for_several_names_is_told_to_go_in_quotes():
    def networks(text, trained):
        raise UsageError(f"unknown network {text!r}")

    with pytest.raises(UsageError, match=r"unknown network 'runs'; .*distill:teacher='\.\.\.'"):
        parse_chains("distill:teacher=runs/A/dense.nnc", METHODS, networks=networks)
    with pytest.raises(UsageError, match=r"unknown network 'rusnet'$"):
        parse_chains("distill:teacher=rusnet", METHODS, networks=networks)


def test_a_slip_in_a_key_is_no_name_taken_apart_and_a_lesson_is_offered_to_who_trains_alone():
    for typed, offered in (("distill:student=student1:alhpa=1", "'alpha'?"), ("ensemble:off=1", "'of'?")):
        with pytest.raises(UsageError) as caught:
            parse_chains(typed, METHODS)
        assert str(caught.value).endswith(offered)
    for typed, taught in (("ensemble:zzzzz=1", False), ("qat:zzzzz=1", True)):
        with pytest.raises(UsageError) as caught:
            parse_chains(typed, METHODS)
        assert ("temperature" in str(caught.value)) is taught
