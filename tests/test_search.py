"""The search: what it looks at, what it spends, and that it ends the same each time."""

import dataclasses
import importlib.util
import json
import math
import shlex
from pathlib import Path

import pytest

from baselines.errors import UsageError
from bench.candidates import Candidate, best_of, front_of
from bench.command import parse_command
from bench.goals import parse_goal
from bench.grammar import parse_chains
from bench.laboratory import UNTRAINED, Trial
from bench.records import write_json
from bench.search import Budget, Search, optuna, rungs
from bench.search_space import Space, space_of
from bench.searching import _nothing, command_of, searched_job, verdict
from methods import METHODS
from reports.search_page import search_csv, search_section
from tests.records_example import record
from tests.test_choosing import SMALL, Quiet, make_job
from tests.test_matching import KINDS

needs_optuna = pytest.mark.skipif(not importlib.util.find_spec("optuna"), reason="Optuna is an extra")
DENSE_BYTES, FULL = 100_000, 9
SPACE = Space({"zeros": ("squeeze",), "precision": ("steps", "half", "binary")})


class Laboratory:
    """Says what a chain gives by a formula: drops fall with the epochs; counts what it is asked."""

    seed, full_epochs = 0, FULL

    def __init__(self):
        self.asked = []

    def chain_of(self, text):
        return parse_chains(text, KINDS)[0]

    def ladder(self, chain, epochs):
        return list(epochs)

    def dense(self, *, latency=False):
        return Trial("dense", "dense", 0, FULL, "ok", "", DENSE_BYTES, 100, 100, 0.9, 1.0, 1.0)

    def trial(self, chain, epochs=None, *, latency=False):
        self.asked.append((chain.label, epochs))
        if any(stage.name == "half" for stage in chain.stages):
            return Trial(chain.text, chain.label, 0, epochs, "refused", "no half today", seconds=1.0)
        keeps = {stage.name: stage.method.keep for stage in chain.stages if hasattr(stage.method, "keep")}
        share = keeps.get("squeeze", 1.0) * keeps.get("steps", 8) / 8
        least = 0.05 / keeps.get("squeeze", 1.0) + 0.2 * (8 - keeps.get("steps", 8)) ** 2 / 9  # points
        drop = least * (1 + 9 / max(epochs, 0.1))
        clock = (share, 1.0) if latency else (math.nan, math.nan)
        return Trial(chain.text, chain.label, 0, epochs, "ok", "", round(DENSE_BYTES * share), 100, 100,
                     0.9 - drop / 100, *clock, 1.0)  # fmt: skip

    def spent(self, epochs):
        return len({label for label, had in self.asked if had == epochs})


def searched(goal="size<=50KB,drop<=2", trials=40, seconds=math.inf, seed=0, space=SPACE):
    laboratory = Laboratory()
    laboratory.seed = seed
    found = Search(laboratory, space, parse_goal(goal)).run(Budget(trials, seconds))
    return found, laboratory


@needs_optuna
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_a_file_near_the_smallest_within_the_limits(seed):
    found, _ = searched(trials=60, seed=seed)
    best = best_of(found)
    assert best.excess == 0
    assert best.drop <= 2
    assert best.size_bytes < 1.4 * 0.039 * DENSE_BYTES  # the least that the formula allows is 3.9 %


@needs_optuna
def test_most_suggestions_end_before_the_whole_budget_and_dear_trials_are_fewer_than_cheap_ones():
    found, laboratory = searched()
    assert [one.number for one in found] == list(range(1, 41))
    assert [laboratory.spent(epochs) for epochs in (UNTRAINED, *rungs(FULL))] == sorted(
        (laboratory.spent(epochs) for epochs in (UNTRAINED, *rungs(FULL))), reverse=True
    )
    assert laboratory.spent(FULL) < 20
    assert {one.status for one in found} == {"whole", "stopped", "refused"}
    assert all(one.reason for one in found if one.status != "whole")
    for one in found:
        assert (one.status == "whole") == (one.epochs == FULL)


@needs_optuna
@pytest.mark.parametrize(
    "goal", ["size<=50KB,drop<=2", "size>=8x,minimise drop", "latency>=2x,drop<=2", "drop<=1,minimise latency"]
)
def test_the_same_seed_gives_the_same_trials_and_another_gives_others(goal):
    one, other = searched(goal)[0], searched(goal)[0]
    assert json.dumps([dataclasses.asdict(c) for c in one]) == json.dumps([dataclasses.asdict(c) for c in other])
    assert [c.label for c in searched(goal, seed=5)[0]] != [c.label for c in one]
    assert best_of(one) is not None


@needs_optuna
def test_a_longer_search_begins_as_the_shorter_one_where_seconds_bound_it():
    short, _ = searched(seconds=30)
    longer, _ = searched(seconds=60)
    assert 30 <= sum(one.seconds for one in short) <= 30 + 1 + len(rungs(FULL))
    assert [one.label for one in longer[: len(short)]] == [one.label for one in short]
    assert len(longer) > len(short)


@needs_optuna
def test_what_cannot_be_within_the_limits_is_not_trained():
    found, laboratory = searched("size<=300B,drop<=2")
    beyond = [one.label for one in found if one.reason == "beyond a limit before it is trained"]
    assert beyond
    assert not {label for label, epochs in laboratory.asked if epochs != UNTRAINED} & set(beyond)
    assert best_of(found) is None


@needs_optuna
def test_chains_that_are_typed_are_searched_over_their_open_strengths_alone():
    found, _ = searched(trials=12, space=Space({}, ("squeeze+steps:keep=4", "steps")))
    assert {one.label.partition(":")[0] for one in found} == {"squeeze", "steps"}
    assert all(one.label.endswith("+steps:keep=4") for one in found if one.label.startswith("squeeze"))
    few, _ = searched(trials=50, space=Space({}, ("steps",)))
    assert len(few) == 8  # there are no more


def test_rungs_end_with_the_whole_budget():
    assert rungs(20) == [2, 7, 20]
    assert rungs(3) == [1, 3]
    assert rungs(1) == [1]
    assert rungs(0) == [0]


def test_the_space_holds_all_methods_that_want_to_be_in_it_in_the_order_of_a_chain():
    space = space_of(METHODS, Parser().chain_of)
    assert list(space.slots) == ["structure", "zeros", "precision"]
    assert {"dct", "lowrank", "prune:pattern=channels"} <= set(space.slots["structure"])
    assert "prune" in space.slots["zeros"]
    assert {"ptq", "qat", "cluster", "ternary", "binary"} <= set(space.slots["precision"])
    named = " ".join(text for texts in space.slots.values() for text in texts)
    assert not [name for name in ("random_basis", "dst", "dynamic") if name in named]


class Parser:
    def chain_of(self, text):
        return parse_chains(text, METHODS)[0]


class Always:
    """Suggests the last choice, and the middle."""

    def suggest_categorical(self, name, choices):
        return True if True in choices else choices[-1]

    def suggest_float(self, name, low, high):
        return (low + high) / 2

    def suggest_int(self, name, low, high):
        return (low + high) // 2


def test_a_suggestion_sets_every_open_strength_and_no_other():
    space = Space({"structure": ("dct",), "zeros": ("prune:sparsity=0.7",), "precision": ("ptq",)})
    text = space.suggest(Always(), Parser().chain_of)
    assert text == "dct:keep=0.06708+prune:sparsity=0.7+ptq:bits=5"
    with pytest.raises(UsageError, match="no method at all"):
        Space({}).suggest(Always(), Parser().chain_of)


def candidate(label, size, drop, status="whole", excess=0.0):
    return Candidate(1, label, label, status, "", FULL, size, drop, 1, 1, math.nan, excess, math.log2(1e5 / size), 1.0)


def test_the_front_holds_what_no_other_beats_in_both():
    goal = parse_goal("drop<=1")
    a, b, c = candidate("a", 900, 0.1), candidate("b", 500, 0.5), candidate("c", 300, 1.5, excess=0.5)
    beaten = candidate("beaten", 600, 0.6)
    cheap = candidate("cheap", 10, 0.0, "stopped")
    found = [c, beaten, a, cheap, b, candidate("twin of b", 500, 0.5)]
    assert [one.label for one in front_of(found, goal)] == ["a", "b", "c"]
    assert [one.label for one in front_of(found, goal, most=2)] == ["a", "b"]
    assert best_of(found) is b
    assert best_of([c, cheap]) is None
    assert front_of([cheap], goal) == []


def test_without_optuna_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install optuna==5\.0\.0") as caught:
        optuna()
    assert "\n" not in str(caught.value)


def test_the_winners_command_makes_the_same_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = [*SMALL, "--search", "drop<=1", "--trials", "5", "--out", "run", "--seeds", "0,3", "--deterministic"]
    options = parse_command(typed).options
    label = "distill:student='student:widths=8-16'+prune:sparsity=0.5"
    words = shlex.split(command_of(options, label))
    again = parse_command(words[2:]).options
    same = dataclasses.replace(options, methods=label, search=None, trials=60, out=None)
    assert again == same
    text = verdict(candidate("prune", 900, 0.1), [candidate("prune", 900, 0.1)], parse_goal("drop<=1"), options)
    assert text.splitlines()[-1] == command_of(options, "prune")
    assert "nothing found keeps drop<=1" in verdict(None, [candidate("prune", 9, 5)], parse_goal("drop<=1"), options)


@needs_optuna
def test_a_search_ends_in_a_plan_of_the_winner_and_the_front_and_in_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [*SMALL, "--methods", "prune,lowrank,half", "--search", "drop<=100", "--trials", "4", "--out", "run"]
    command = parse_command(arguments)
    watcher = Quiet()
    job = make_job(command, METHODS, print)
    job = searched_job(command, job, METHODS, watcher)
    data = json.loads((tmp_path / "run" / "search.json").read_text())
    labels = [case.label for case in job.plan.cases]
    assert labels == ["dense", data["winner"], *(one for one in data["front"] if one != data["winner"])]
    assert all(job.cache.has(stage) for case in job.plan.cases for stage in case.stage_ids)  # nothing is trained again
    assert "python run_bench.py" in watcher.lines[-1]
    one = record(job.plan.cases[1].text, like="prune")
    section = search_section([one], tmp_path / "run")
    assert "## Search" in section
    assert data["command"] in section
    assert len(search_csv(tmp_path / "run").splitlines()) == 1 + len(data["candidates"])
    again = searched_job(command, make_job(command, METHODS, print), METHODS, Quiet())
    assert [case.id for case in again.plan.cases] == [case.id for case in job.plan.cases]


def test_a_search_without_a_front_says_what_came_nearest_and_where_all_is():
    stopped = [candidate("prune", 900, 5.0), candidate("half", 700, 0.2)]
    text = _nothing(stopped, Path("run/search.json"))
    assert "all of 2 chains that can run broke a limit" in text
    assert "700 bytes" in text
    assert "run/search.json" in text
    refused = [dataclasses.replace(one, status="refused") for one in stopped]
    assert "nothing that can run in 2 trials" in _nothing(refused, Path("run/search.json"))


def test_a_damaged_search_is_told_and_none_is_no_section(tmp_path):
    assert search_section([], tmp_path) == search_csv(tmp_path) == ""
    (tmp_path / "search.json").write_text('{"candidates": 3}')
    with pytest.raises(ValueError, match=r"search.json is damaged"):
        search_section([], tmp_path)
    (tmp_path / "search.json").write_text('{"candidates": []}')
    with pytest.raises(ValueError, match=r"search.json is damaged"):
        search_section([], tmp_path)


def test_a_search_in_vain_is_told_by_the_exit_code(tmp_path):
    import run_bench

    command = parse_command(["--search", "size<=1KB,drop<=1"])
    for winner, vain in (("", True), ("ptq", False)):
        write_json({"winner": winner}, tmp_path / "search.json")
        assert run_bench._searched_in_vain(command, tmp_path) is vain
    assert not run_bench._searched_in_vain(parse_command([]), tmp_path)
