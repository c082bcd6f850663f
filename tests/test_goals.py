"""What `--at` and `--search` ask for: what is read, and what is refused with what to type instead."""

import math

import pytest

from baselines.errors import UsageError
from bench.command import parse_command
from bench.goals import Goal, Levels, Limit, Target, parse_goal, parse_targets

DENSE = Levels(size=800_000, drop=0.0, params=200_000, macs=4e6, latency=8e-3)


def levels(size=100_000, drop=0.5, params=50_000, macs=2e6, latency=2e-3):
    return Levels(size, drop, params, macs, latency)


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("size=8x", (Target("size", 8.0),)),
        (" latency = 2.5x , drop=.5,size=1e2x", (Target("latency", 2.5), Target("drop", 0.5), Target("size", 100.0))),
        ("size=8x,size=8.0x", (Target("size", 8.0),)),
    ],
)
def test_targets_are_read_and_written_again(text, targets):
    assert parse_targets(text) == targets
    assert parse_targets(",".join(one.text for one in targets)) == targets


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("siez=8x", "did you mean 'size'"),
        ("size=8", "write size=2x, a ratio to dense"),
        ("size", "write size=2x"),
        ("drop=1x", "write drop=0.5, in points"),
        ("drop=0", "write drop=0.5"),
        ("size=nanx", "write size=2x"),
        ("size=1x", "above 1x"),
        ("macs=2x", "cannot match 'macs'"),
        ("", "known: drop, latency, size"),
    ],
)
def test_wrong_targets_say_what_to_type(text, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse_targets(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("size<=200KB,drop<=1", Goal((Limit("size", 2e5), Limit("drop", 1.0)))),
        ("drop<=0.3", Goal((Limit("drop", 0.3),))),
        ("size>=8x, minimise drop", Goal((Limit("size", 8.0, ratio=True),), "drop")),
        (
            "latency<=1.5 ms,drop<=1,params<=5k",
            Goal((Limit("latency", 1.5e-3), Limit("drop", 1.0), Limit("params", 5e3))),
        ),
        ("minimize macs,drop<=0", Goal((Limit("drop", 0.0),), "macs")),
        ("size<=1KiB,drop<=2", Goal((Limit("size", 1024.0), Limit("drop", 2.0)))),
    ],
)
def test_goals_are_read(text, goal):
    assert parse_goal(text) == goal


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("siez<=3KB,drop<=1", "did you mean 'size'"),
        ("size<=3GB,drop<=1", "size has no unit 'gb'"),
        ("size>=3KB,drop<=1", "write size<=200KB"),
        ("size<=8x,drop<=1", "write size>=8x"),
        ("drop>=1,size<=3KB", "write drop<=1"),
        ("drop<=1%,size<=3KB", "it is in points"),
        ("size<3KB,drop<=1", "write size<=200KB"),
        ("size<=25KB", "does not say what to keep"),
        ("minimise drop", "does not say what to keep"),
        ("minimise size,minimise drop,drop<=1", "name one"),
        ("size<=0KB,drop<=1", "above 0"),
        ("quick", "cannot read 'quick'"),
    ],
)
def test_wrong_goals_say_what_to_type(text, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse_goal(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "found", "excess"),
    [
        (Limit("size", 1e5), levels(), 0.0),
        (Limit("size", 5e4), levels(), 1.0),
        (Limit("size", 8.0, ratio=True), levels(), 0.0),
        (Limit("size", 32.0, ratio=True), levels(), 2.0),
        (Limit("latency", 4.0, ratio=True), levels(), 0.0),
        (Limit("drop", 0.2), levels(), 0.3),
        (Limit("drop", 0.0), levels(drop=-1.0), 0.0),
    ],
)
def test_an_excess_is_in_doublings_or_points_and_0_within_the_limit(limit, found, excess):
    assert limit.excess(found, DENSE) == pytest.approx(excess)


def test_a_gain_is_in_doublings_or_points():
    assert parse_goal("drop<=1").gain(levels(), DENSE) == pytest.approx(3)
    assert parse_goal("size<=1KB,minimise drop").gain(levels(), DENSE) == pytest.approx(-0.5)
    assert parse_goal("drop<=1,minimise latency").needs_latency
    assert not parse_goal("drop<=1").needs_latency
    assert math.isnan(Levels(1, 0, 1, 1).latency)


def test_the_command_line_reads_them_and_says_what_is_wrong_in_their_words():
    assert parse_command(["--at", "size=8x,drop=1"]).options.at == (Target("size", 8.0), Target("drop", 1.0))
    assert parse_command(["--search", "drop<=1"]).options.search == Goal((Limit("drop", 1.0),))
    for arguments, says in [
        (["--at", "siez=8x"], "did you mean 'size'"),
        (["--at", "size=8x", "--search", "drop<=1"], "give one of them"),
        (["--search", "drop<=1", "--trials", "0"], "--trials must be 1 or more"),
        (["--search", "drop<=1", "--search-minutes", "-1"], "--search-minutes must be a positive number"),
        (["--search", "size"], "cannot read 'size'"),
    ]:
        with pytest.raises(UsageError, match=says):
            parse_command(arguments)
