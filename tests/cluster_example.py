"""A job for machines, and hands that carry it out without Ray."""

from collections import deque

from bench.cluster.driver import RayRunner
from bench.cluster.hands import Lost
from bench.cluster.needs import Needs, Node
from bench.command import parse_command
from bench.inputs import make_job
from bench.job import claim
from bench.records import write_record
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
