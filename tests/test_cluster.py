"""Runs over machines, without Ray: what a case needs, who waits for whom, and the driver's account."""

import dataclasses
import os
from collections import deque
from types import SimpleNamespace

import pytest

from baselines.errors import UsageError
from bench.cluster import node as on_node
from bench.cluster.connection import connected, device_on
from bench.cluster.driver import MOST_LOSSES, RayRunner
from bench.cluster.hands import Hands as RealHands
from bench.cluster.hands import Lost, Task
from bench.cluster.memory import memory_of
from bench.cluster.needs import Needs, Node, complete, parse_needs
from bench.cluster.order import waits
from bench.command import parse_command
from bench.estimate import needed
from bench.inputs import make_job
from bench.job import claim
from bench.plan import content_id
from bench.records import read_record, write_record
from bench.runner import kept
from methods import METHODS

GB = 10**9
CHAINS = "prune:sparsity=0.5+ptq,prune:sparsity=0.5,prune:sparsity=0.9,dct+qat,dct"


def job_in(folder, *more):
    typed = ["--net", "lenet300", "--dataset", "digits:train=200", "--methods", CHAINS, "--seeds", "0,1"]
    job = make_job(parse_command([*typed, "--out", str(folder / "run"), "--cache", str(folder / "cache"), *more]),
                   METHODS, print)  # fmt: skip
    claim(job)
    return job


class Told:
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def case(self, *_):
        pass

    step = case


class Hands:
    """Machines that do at once what is first in their queue; `fate` decides what comes of a task."""

    def __init__(self, job, machines=2, slots=3, fate=lambda task: None):
        self.job, self.fate, self.slots = job, fate, slots
        self.machines = [Node(str(index), "", 2, 0, 8 * GB) for index in range(machines)]
        self.needs, self.queue, self.begun, self.most = Needs(1, 0, GB), deque(), [], 0

    def take_up(self, assignment):
        self.assignment = assignment

    def look(self):
        pass

    @property
    def running(self):
        return list(self.queue)

    def start(self, task, share):
        assert 0 <= share.done_s <= share.seconds
        self.queue.append(task)
        self.begun.append((task.step, task.case))
        self.most = max(self.most, sum(one.step == "make" for one in self.queue))

    def wait(self):
        task = self.queue.popleft()
        came = self.fate(task)
        if isinstance(came, Exception) and not isinstance(came, Lost):
            raise came
        if came is None:
            came = blank(self.job, task.case)
            if task.step == "measure":
                assert task.made.case_id == task.case.id
                write_record(came, self.job.record_path(task.case))
        return [(task, came)]

    def told(self):
        return {one.case.id: ("under way", 0.0) for one in list(self.queue)[:1]}, []

    def forget(self, case):
        pass

    def drop(self):
        self.dropped = True


def blank(job, case):
    from bench.casework import CaseWork
    from bench.estimate import Meter, Narrator
    from bench.measure import Server

    return CaseWork(job, Narrator(Told(), Meter({})), Server(())).unfinished(case, "ok", "")


def run(job, hands):
    told = Told()
    return RayRunner(job, METHODS, told, hands).run(), told.lines


# What a case needs


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("cpus=4,gpus=1,memory=8GB", Needs(4, 1, 8 * GB)),
        (" CPUS = 2 ", Needs(2, None, None)),
        ("memory=1.5GiB", Needs(None, None, 3 * 2**29)),
        ("gpus=0", Needs(None, 0, None)),
    ],
)
def test_needs_are_read(text, needs):
    assert parse_needs(text) == needs


@pytest.mark.parametrize("memory", ["0.05GB", "1.5GB", "16GB", "900GB", "2000GB"])
def test_needs_are_told_as_they_are_typed(memory):
    assert str(parse_needs(f"cpus=4,memory={memory}")) == f"cpus=4,memory={memory}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cpus=0", "give a whole number, 1 or more"),
        ("cpus=2.5", "give a whole number"),
        ("cpus=4GB", "give a whole number"),
        ("memory=8", "with a unit"),
        ("memory=0GB", "with a unit"),
        ("memory=8KB", "with a unit"),
        ("cpus=1,cpus=2", "has cpus twice"),
        ("cores=4", "no 'cores'"),
        ("cpus", "write it as in"),
        ("", "write it as in"),
        ("cpus=-1", "write it as in"),
    ],
)
def test_needs_that_cannot_be_are_told_in_a_line(text, says):
    with pytest.raises(UsageError, match=says) as raised:
        parse_needs(text)
    assert "\n" not in str(raised.value)


def test_what_needs_leave_open_comes_from_the_machines():
    small, large = Node("a", "", 2, 0, 4 * GB), Node("b", "", 64, 8, 512 * GB)
    assert complete(Needs(), [small, large], "cpu", GB) == Needs(2, 0, GB)  # what the smallest one has
    assert complete(Needs(), [large], "cpu", GB).cpus == 4  # more gain little
    assert complete(Needs(), [small, large], "cuda", GB) == Needs(8, 1, GB)  # a GPU with its share
    assert complete(Needs(), [large], "cuda", GB, processes=4) == Needs(32, 4, GB)
    with pytest.raises(UsageError, match="leave gpus out"):
        complete(Needs(gpus=2), [large], "cuda", GB, processes=4)
    assert complete(Needs(3, 2, 5), [large], "cuda", GB) == Needs(3, 2, 5)
    assert large.slots(Needs(8, 1, GB)) == 8
    assert large.slots(Needs(8, 1, 100 * GB)) == 5
    assert small.slots(Needs(1, 1, GB)) == 0


@pytest.mark.parametrize(
    ("needs", "device", "says"),
    [
        (Needs(cpus=4), "cpu", "no machine of the cluster holds a case that needs cpus=4,gpus=0,memory=1GB"),
        (Needs(memory=9 * GB), "cpu", "the largest has cpus=2,gpus=0,memory=8GB"),
        (Needs(), "cuda", "no machine of the cluster holds"),
        (Needs(gpus=1), "cpu", "leave gpus out"),
        (Needs(gpus=0), "cuda", "leave gpus out"),
    ],
)
def test_needs_that_no_machine_has_are_told(needs, device, says):
    with pytest.raises(UsageError, match=says):
        complete(needs, [Node("a", "", 2, 0, 8 * GB)], device, GB)
    with pytest.raises(UsageError):
        complete(needs, [], device, GB)


def test_memory_grows_with_the_network_and_the_batch(tmp_path):
    least = memory_of(job_in(tmp_path / "a"))
    assert 1.5 * 2**30 < least < 2 * 2**30
    batch = memory_of(job_in(tmp_path / "b", "--batch-size", "6400")) - memory_of(
        job_in(tmp_path / "c", "--batch-size", "3200")
    )
    assert batch > 3200 * 4 * 3 * (300 + 100 + 10)  # what its layers give, kept, with gradients
    assert memory_of(job_in(tmp_path / "d", "--net", "alexnet:width=512")) > least + 20 * 10**6
    together = memory_of(job_in(tmp_path / "e", "--processes", "4", "--device", "cpu"))
    assert 4.9 * least < together < 5 * least  # the batch is shared, all else is not


def test_device_of_a_cluster():
    cpu, gpu = Node("a", "", 2, 0, GB), Node("b", "", 2, 1, GB)
    assert device_on([cpu], "auto") == "cpu"
    assert device_on([cpu, gpu], "auto") == "cuda"
    assert device_on([cpu, gpu], "cpu") == "cpu"
    assert device_on([cpu, gpu], "cuda") == "cuda"
    with pytest.raises(UsageError, match="no machine of the Ray cluster has a GPU"):
        device_on([cpu], "cuda")
    with pytest.raises(UsageError, match="write --device cuda"):
        device_on([gpu], "cuda:0")


def test_a_wrong_address_is_told_at_once(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for address, says in (("127.0.0.1:1", "nothing answers there"), ("nonsense", "is no address")):
        with pytest.raises(UsageError, match=says), connected(address):
            pass


def test_a_variable_without_an_address_is_none(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "")
    asked = []

    class Ray:
        exceptions = SimpleNamespace(RayError=OSError)

        def init(self, address, **_):
            asked.append(address)

        def shutdown(self):
            pass

    monkeypatch.setattr("bench.cluster.connection.the_ray", Ray)
    monkeypatch.setattr("bench.cluster.connection._hush", lambda: None)
    with connected("local"):
        pass
    assert asked == ["local"]


def test_without_ray_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install -r requirements-extra\.txt"), connected("local"):
        pass


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--needs", "cpus=1"], "add --ray"),
        (["--ray", ""], "--ray cannot be ''"),
        (["--ray", "--at", "size=8x"], "without --ray"),
        (["--ray", "--search", "size<=8KB,drop<=1"], "without --ray"),
    ],
)
def test_options_that_do_not_go_together(arguments, says):
    with pytest.raises(UsageError, match=says):
        parse_command(arguments)


def test_ray_takes_an_address_or_none():
    assert parse_command([]).options.ray is None
    assert parse_command(["--ray", "--seeds", "1"]).options.ray == "local"
    assert parse_command(["--ray", "10.0.0.1:6379"]).options.ray == "10.0.0.1:6379"


# Who waits for whom


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


# The driver


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


# On a machine


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
