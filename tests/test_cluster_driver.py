"""Who waits for whom, and the driver's account, without Ray."""

import dataclasses

import pytest

from baselines.errors import UsageError
from bench.cluster import node as on_node
from bench.cluster.driver import MOST_LOSSES, RayRunner
from bench.cluster.hands import Hands as RealHands
from bench.cluster.hands import Lost, Task
from bench.cluster.needs import Needs
from bench.cluster.order import waits
from bench.estimate import needed
from bench.records import read_record
from bench.runner import kept
from methods import METHODS
from tests.cluster_example import GB, Hands, Told, blank, job_in, run


def test_every_network_is_made_by_one_case_and_those_who_need_it_wait_for_that_one(tmp_path):
    job = job_in(tmp_path)
    before = waits(job.plan, job.sizes, lambda _: False, ())
    order = [case.id for case in job.plan.cases]
    assert list(before) == order
    made = set()
    for case in job.plan.cases:
        assert all(order.index(one) < order.index(case.id) for one in before[case.id])
        ready = {one for other in [*before[case.id], case.id] for one in needed(job.plan.of(other), job.sizes, bool)}
        assert set(needed(case, job.sizes, lambda _: False)) <= ready | made
    dense, both, first, *_ = job.plan.cases
    assert (dense.label, both.label, first.label) == ("dense", "prune:sparsity=0.5+ptq", "prune:sparsity=0.5")
    assert before[first.id] == {dense.id, both.id}
    assert before[dense.id] == set()
    assert before[both.id] == {dense.id}


def test_a_case_waits_for_the_dense_file_though_its_networks_are_there(tmp_path):
    job = job_in(tmp_path)
    before = waits(job.plan, job.sizes, lambda _: True, ())
    dense = {case.seed: case.id for case in job.plan.cases if case.chain is None}
    chains = [case for case in job.plan.cases if case.chain and not case.refusal]
    assert all(before[case.id] == {dense[case.seed]} for case in chains)
    assert not any(waits(job.plan, job.sizes, lambda _: True, set(dense.values())).values())


def test_cases_start_when_what_they_wait_for_is_made_and_records_come_in_plan_order(tmp_path):
    job = job_in(tmp_path)
    hands = Hands(job)
    records, lines = run(job, hands)
    assert [one.case_id for one in records] == [case.id for case in job.plan.cases]
    assert hands.begun.count(("make", job.plan.cases[0])) == 1
    assert len(hands.begun) == 2 * len(records)
    before = waits(job.plan, job.sizes, lambda _: False, ())
    made = []
    for step, case in hands.begun:
        if step == "measure":
            made.append(case.id)
        else:
            assert before[case.id] <= set(made)
    assert hands.most <= hands.slots + len(hands.machines)
    assert lines[-1].startswith(f"[{len(records)}/{len(records)}] ")
    assert not list(tmp_path.rglob(".of-the-driver*"))


def test_makes_wait_while_measurements_pile_up(tmp_path):
    job = job_in(tmp_path)
    hands = Hands(job, machines=1, slots=8)
    piled = []

    def late(task):  # measurements come last of all that is under way
        if task.step == "measure" and any(one.step == "make" for one in hands.queue):
            hands.queue.append(task)
            return "again"
        piled.append(sum(one.step == "measure" for one in hands.queue) + (task.step == "measure"))
        return None

    whole = hands.wait

    def wait():
        while True:
            first = hands.queue[0]
            if late(first) != "again":
                return whole()
            hands.queue.popleft()

    hands.wait = wait
    records, _ = run(job, hands)
    assert len(records) == len(job.plan.cases)
    assert max(piled) <= 2 * len(hands.machines) + hands.slots + len(hands.machines)


def test_a_lost_case_runs_again_and_one_that_is_always_lost_fails_alone(tmp_path):
    job = job_in(tmp_path)
    unlucky, deadly = job.plan.cases[1], job.plan.cases[4]
    losses = {unlucky.id: 1, deadly.id: 99}

    def fate(task):
        if losses.get(task.case.id, 0):
            losses[task.case.id] -= 1
            return Lost("the process was killed")
        return None

    records, lines = run(job, Hands(job, fate=fate))
    found = {one.case_id: one for one in records}
    assert found[deadly.id].status == "failed"
    assert found[deadly.id].reason == f"its process was lost {MOST_LOSSES} times: the process was killed"
    assert read_record(job.record_path(deadly)) == found[deadly.id]
    assert all(one.status == "ok" for name, one in found.items() if name != deadly.id)
    assert losses[deadly.id] == 99 - MOST_LOSSES
    assert f"{unlucky.label} seed 0: lost while it was made (the process was killed); it runs again" in lines


def test_a_case_that_is_lost_while_it_is_measured_is_made_again_first(tmp_path):
    job = job_in(tmp_path)
    case = job.plan.cases[2]
    lost = []

    def fate(task):
        if task == (task.step, task.case) or (task.step, task.case.id) != ("measure", case.id) or lost:
            return None
        lost.append(task)
        return Lost("its machine is gone")

    hands = Hands(job, fate=fate)
    records, _ = run(job, hands)
    assert all(one.status == "ok" for one in records)
    assert [step for step, one in hands.begun if one.id == case.id] == ["make", "measure", "make", "measure"]


def test_a_case_that_came_to_nothing_is_not_measured_and_holds_nobody_up(tmp_path):
    job = job_in(tmp_path)
    dense = job.plan.cases[0]

    def fate(task):
        refused = dataclasses.replace(blank(job, task.case), status="refused", reason="no")
        return refused if task.case.id == dense.id else None

    hands = Hands(job, fate=fate)
    records, _ = run(job, hands)
    assert [one.status for one in records] == ["refused"] + ["ok"] * (len(records) - 1)
    assert ("measure", dense) not in hands.begun


def test_what_is_finished_is_kept_and_only_the_rest_is_handed_out(tmp_path, monkeypatch):
    job = job_in(tmp_path)
    done = job.plan.cases[0]
    monkeypatch.setattr("bench.runner.finished", lambda _, case: blank(job, case) if case == done else None)
    hands = Hands(job)
    records, lines = run(job, hands)
    assert done not in [case for _, case in hands.begun]
    assert lines[0].endswith("(kept from before)")
    assert len(records) == len(job.plan.cases)
    assert kept(job, done, records[0]) == records[0]


def test_every_record_is_told_once_as_it_comes(tmp_path, monkeypatch):
    job = job_in(tmp_path)
    done = job.plan.cases[1]
    monkeypatch.setattr("bench.runner.finished", lambda _, case: blank(job, case) if case == done else None)
    came = []
    records = RayRunner(job, METHODS, Told(), Hands(job), came.append).run()
    assert came[0].case_id == done.id
    assert len(came) == len(records)
    assert {one.case_id: one for one in came} == {one.case_id: one for one in records}


def test_a_run_with_nothing_to_do_needs_no_machine(tmp_path, monkeypatch):
    job = job_in(tmp_path)
    monkeypatch.setattr("bench.runner.finished", lambda _, case: blank(job, case))
    hands = Hands(job)
    records, _ = run(job, hands)
    assert len(records) == len(job.plan.cases)
    assert not hasattr(hands, "assignment")


def test_what_no_machine_can_do_ends_the_run_and_all_that_is_under_way(tmp_path):
    job = job_in(tmp_path)
    hands = Hands(job, fate=lambda task: UsageError("nothing more can be written"))
    with pytest.raises(UsageError, match="nothing more can be written"):
        run(job, hands)
    assert hands.dropped
    assert not list(tmp_path.rglob(".of-the-driver*"))


def test_measuring_waits_for_a_machine_where_the_last_one_has_just_gone(tmp_path):
    class Function:
        def options(self, **settings):
            self.settings = settings
            return self

        def remote(self, *_):
            return "reference"

    case = job_in(tmp_path).plan.cases[0]
    hands = RealHands(Needs(2, 0, GB))
    function = hands._functions["measure"] = Function()
    task = Task("measure", case, None)
    hands.start(task, on_node.Share(case.id, 1.0, 0.0))
    assert hands.running == [task]
    assert function.settings["num_cpus"] == 2
    assert "scheduling_strategy" not in function.settings  # of a machine that is not there
