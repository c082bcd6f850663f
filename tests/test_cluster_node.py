"""What a machine checks before it takes part."""

import dataclasses
import os

import pytest

from baselines.errors import UsageError
from bench.cluster import node as on_node
from bench.plan import content_id
from methods import METHODS
from tests.cluster_example import job_in


def test_a_machine_that_is_not_like_the_drivers_says_why(tmp_path, monkeypatch):
    job = job_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    folders = (job.out, job.cache.folder)
    on_node.mark(folders, "this run")
    right = on_node.assignment_of(job, METHODS, "this run")
    assert on_node.unfit(right) == ""
    code = right.code
    wrong = {
        "it has no folder": {"folder": str(tmp_path / "elsewhere")},
        "it does not see --out": {"token": "another run"},
        "its commit differs": {"code": code | {"commit": content_id("other")}},
        "its packages differs: torch 2.13.0": {"code": code | {"packages": code["packages"] | {"torch": "2.0.0"}}},
        "its python differs": {"code": code | {"python": "3.12.0"}},
    }
    for says, changes in wrong.items():
        assert on_node.unfit(dataclasses.replace(right, **changes)).startswith(says)
    on_node.unmark((job.cache.folder,), "this run")
    assert on_node.unfit(right).startswith("it does not see --cache")
    on_node.unmark(folders, "this run")
    assert not list(tmp_path.rglob(".of-the-driver*"))
    assert os.getcwd() == str(tmp_path)


def test_runs_that_share_a_cache_leave_each_others_marks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = job_in(tmp_path), job_in(tmp_path, "--out", str(tmp_path / "other"))
    token, others = on_node.token_of(one), on_node.token_of(other)
    on_node.mark((one.out, one.cache.folder), token)
    assigned = on_node.assignment_of(one, METHODS, token)
    on_node.mark((other.out, other.cache.folder), others)
    assert on_node.unfit(assigned) == ""
    on_node.unmark((other.out, other.cache.folder), others)
    assert on_node.unfit(assigned) == ""
    again = on_node.token_of(one)  # started once more after it was killed
    assert again != token
    on_node.mark((one.out, one.cache.folder), again)
    assert on_node.unfit(assigned).startswith("it does not see --out")
    on_node.unmark((one.out, one.cache.folder), again)
    assert not list(tmp_path.rglob(".of-the-driver*"))


def test_a_machine_that_comes_to_another_plan_refuses(tmp_path, monkeypatch):
    job = job_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_node, "_work", {})
    on_node.mark((job.out, job.cache.folder), "this run")
    other = dataclasses.replace(on_node.assignment_of(job, METHODS, "this run"), plan=content_id("other data"))
    share = on_node.Share(job.plan.cases[0].id, 1.0, 0.0)
    with pytest.raises(UsageError, match="means another plan there"):
        on_node.make(other, share, None, 1)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UsageError, match="torch finds 0 GPUs where Ray gives out 1"):
        on_node.make(dataclasses.replace(other, device="cuda"), share, None, 1)
