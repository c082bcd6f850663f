"""What is computed of machines that are not there, and the study of many cases on a real Ray, at small size."""

import pytest

from bench import scale
from bench.cluster.hands import Task
from bench.cluster.needs import Needs, Node
from bench.cluster.virtual import VirtualHands


@pytest.fixture
def job(tmp_path):
    return scale.job_of(5, 3, tmp_path)


def test_a_job_has_a_case_for_each_seed_and_chain_and_some_share_stages(job):
    assert len(job.plan.cases) == 3 * 6
    texts = [case.text for case in job.plan.cases if case.seed == 0]
    shared = [text for text in texts if text.endswith("ptq") or "+" in text]
    assert len(shared) == 2
    assert all(text.partition("+")[0] in texts for text in shared)


@pytest.mark.parametrize("gpus", [1, 2, 3, 8, 12, 100])
@pytest.mark.parametrize("minutes", [1.0, 30.0])
def test_computed_hours_lie_between_what_work_and_waiting_bound(job, gpus, minutes):
    hours, used = scale.computed(job, gpus, minutes)
    cases = len(job.plan.cases)
    work = cases * (minutes + 1) / 60
    longest = (3 * minutes + 1) / 60  # dense, prune, prune+ptq, each by another case, and measuring
    assert hours >= max(work / gpus, longest) - 1e-9
    assert hours <= work / gpus + longest + 2 * (minutes + 1) / 60
    assert used == pytest.approx(work / (hours * gpus))
    if gpus == 1:
        assert hours == pytest.approx(work)


def test_a_measurement_on_a_cpu_has_its_machine_to_itself(job):
    machines = [Node("a", "", 4, 0, 10**9), Node("b", "", 4, 0, 10**9)]
    hands = VirtualHands(Needs(1, 0, 1), machines, lambda task: 10.0, lambda task: None)
    hands.take_up(None)
    first, *others = job.plan.cases
    for task in [Task("make", first), *(Task("measure", case) for case in others[:3])]:
        hands.start(task, None)
    ends = []
    while hands.running:
        ends += [(hands.wait()[0][0].step, hands.now)]
    assert ends == [("make", 10.0), ("measure", 10.0), ("measure", 20.0), ("measure", 20.0)]


def test_the_study_runs_a_plan_by_ray_and_says_what_it_cost(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray", reason="Ray is an extra: pip install -r requirements-extra.txt")
    monkeypatch.setattr("sys.argv", ["scale", "--chains", "2", "--seeds", "2", "--gpus", "4",
                                     "--out", str(tmp_path / "scale.md")])  # fmt: skip
    assert scale.main() == 0
    text = (tmp_path / "scale.md").read_text()
    assert text.startswith("# What 6 cases on 4 GPUs take")
    assert "ms a case**" in text
    assert sum(line.startswith(("| 1 |", "| 5 |", "| 15 |", "| 60 |")) for line in text.splitlines()) == 4
    assert text in capsys.readouterr().out
