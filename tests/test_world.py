"""Processes that train one network together give what one alone gives, up to rounding, and agree to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.world_scenarios import SCENARIOS, alone, pictures

ROOT = Path(__file__).parents[1]
RANKS = 3
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of the processes found."""
    out = tmp_path_factory.mktemp("world")
    pictures(out / "pictures")
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
            "--log-dir", str(out), "--nproc-per-node", str(RANKS), "-m", "tests.world_scenarios", str(out)]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(out / "cache")}
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(out / f"{rank}.pt") for rank in range(RANKS)]


def same(one, two):
    """Whether two results are equal to the last bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - {"noise", "cached"}))
def test_all_processes_come_to_the_same(found, name):
    assert all(same(one[name], found[0][name]) for one in found[1:])


def test_the_first_decides_and_all_are_counted(found):
    assert {one["agreed"] for one in found} == {"of 0"}
    assert {one["total"] for one in found} == {RANKS * (RANKS + 1) / 2}


def test_gradients_are_those_of_the_whole_batch(found, tmp_path):
    ours, whole = found[0]["gradients"], alone("gradients", tmp_path)
    assert ours.keys() == whole.keys()
    assert whole["priced.weight"].abs().max() > 0
    assert {name for name, one in ours.items() if one is None} == {"priced.bias", "idle.weight", "idle.bias"}
    for name, one in whole.items():
        if one is None:
            assert ours[name] is None
        else:
            torch.testing.assert_close(ours[name], one, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["plain", "taught", "on_disk"])
def test_a_network_without_batch_norm_is_the_one_that_one_process_trains(found, tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pictures(tmp_path / "pictures")
    ours, whole = found[0][name], alone(name, tmp_path)
    for key, tensor in whole["state"].items():
        torch.testing.assert_close(ours["state"][key], tensor, **CLOSE)
    for one, other in zip(ours["logs"], whole["logs"], strict=True):
        assert one[0] == pytest.approx(other[0], rel=1e-4)
        assert one[1:] == pytest.approx(other[1:], abs=0.01)
        assert one[3] == other[3], "every image counts once"


def test_a_network_with_batch_norm_learns_as_well(found, tmp_path):
    ours, whole = (one["logs"][-1] for one in (found[0]["norms"], alone("norms", tmp_path)))
    assert min(ours[2], whole[2]) > 0.8
    assert ours[2] == pytest.approx(whole[2], abs=0.06)


def test_what_is_cut_off_and_goes_on_equals_what_was_left_alone(found):
    for one in found:
        assert one["resumed"]["told"] == [2, 3]
        assert same({key: one["resumed"][key] for key in ("state", "logs")}, one["resumed"]["alone"])


def test_dropout_differs_between_processes_and_epochs_and_comes_again(found):
    draws = [one["noise"] for one in found]
    assert all(first == again for first, again in draws)
    every = [number for first, _ in draws for number in first]
    assert len(set(every)) == len(every)


def test_scores_are_exact_counts(found, tmp_path):
    assert found[0]["scores"] == alone("scores", tmp_path)


def test_an_entry_of_the_cache_is_what_the_first_process_has(found):
    assert all(one["cached"]["found"] == [None, [0.0], None] for one in found)
    assert [one["cached"]["told"] for one in found] == [1, *(RANKS - 1) * [0]], "the first tells that one is damaged"


def test_a_training_ends_for_the_reason_that_one_process_gives(found, tmp_path):
    ours, whole = found[0]["broken"], alone("broken", tmp_path)
    assert ours[:2] == whole
    assert ours[2].startswith(f"{RANKS} processes cannot share batches of")
