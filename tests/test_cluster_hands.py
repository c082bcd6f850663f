"""How a driver asks the machines whether they can take part, with a Ray that is played."""

from types import SimpleNamespace

import pytest

from baselines.errors import UsageError
from bench.cluster import hands as of_hands
from bench.cluster.hands import Hands
from bench.cluster.needs import Needs


class PlayedRay:
    """Tasks whose answers come at given seconds of a clock that waiting alone moves on."""

    exceptions = SimpleNamespace(RayError=OSError, GetTimeoutError=TimeoutError)

    def __init__(self, answers):
        self.answers, self.now, self.cancelled = dict(enumerate(answers)), 0.0, []

    def remote(self, function=None, **_):
        return self.remote if function is None else self

    def put(self, value):
        return value

    def options(self, **settings):
        place = settings.get("scheduling_strategy")
        return SimpleNamespace(remote=lambda *_: place)

    def wait(self, references, num_returns, timeout):
        come = sorted(references, key=lambda one: self.answers[one][0])[:num_returns]
        come = [one for one in come if self.answers[one][0] <= self.now + timeout]
        self.now = max(self.now, *(self.answers[one][0] for one in come)) if come else self.now + timeout
        return come, [one for one in references if one not in come]

    def get(self, reference, timeout=0.0):
        when, answer = self.answers[reference]
        if when > self.now + timeout:
            self.now += timeout
            raise TimeoutError
        self.now = max(self.now, when)
        return answer

    def cancel(self, reference, force):
        self.cancelled.append(reference)


@pytest.fixture
def asked(monkeypatch):
    """Asks machines that answer so: gives what is said to the user, the seconds it took and what was cancelled."""

    def ask(*answers):
        ray = PlayedRay(answers)
        machines = [SimpleNamespace(address=f"machine{index}", id=index) for index in ray.answers]
        monkeypatch.setattr(of_hands, "the_ray", lambda: ray)
        monkeypatch.setattr(of_hands, "nodes", lambda: machines)
        monkeypatch.setattr(of_hands, "_only_on", lambda one: {"scheduling_strategy": one.id})
        monkeypatch.setattr(of_hands, "time", SimpleNamespace(monotonic=lambda: ray.now))
        said = ""
        try:
            Hands(Needs(1, 0, 10**8)).take_up(None)
        except UsageError as error:
            said = str(error)
        return said, ray.now, set(ray.cancelled)

    return ask


def test_machines_have_the_time_together(asked):
    assert asked((290, ""), (20, ""), (299, "")) == ("", 299, set())
    said, took, cancelled = asked((290, ""), (580, ""), (870, ""))
    assert said.startswith("--ray: the machine machine1 cannot take part: it has not answered within 300 s")
    assert took == 300
    assert cancelled >= {1, 2}


def test_the_first_machine_that_cannot_ends_the_wait_for_the_others(asked):
    said, took, cancelled = asked((290, ""), (20, "its commit differs"), (900, ""))
    assert said == "--ray: the machine machine1 cannot take part: its commit differs"
    assert took == 20
    assert cancelled >= {0, 2}
