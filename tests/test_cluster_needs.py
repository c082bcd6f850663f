"""What a case needs of a machine, and what is told of a cluster before anything runs."""

import os
from types import SimpleNamespace

import pytest

from baselines.errors import UsageError
from bench.cluster.connection import connected, device_on
from bench.cluster.memory import memory_of
from bench.cluster.needs import Needs, Node, complete, parse_needs
from bench.command import parse_command
from tests.cluster_example import GB, job_in


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


@pytest.fixture
def asked(monkeypatch):
    """The addresses that a Ray was asked for, each with the variables of Ray's that were set then."""
    asked = []

    class Ray:
        exceptions = SimpleNamespace(RayError=OSError)

        def init(self, address, **_):
            asked.append((address, {name: value for name, value in os.environ.items() if name.startswith("RAY_")}))

        def shutdown(self):
            pass

    monkeypatch.setattr("bench.cluster.connection.the_ray", Ray)
    monkeypatch.setattr("bench.cluster.connection._hush", lambda: None)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    return asked


def test_a_variable_without_an_address_is_none(asked, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "")
    with connected("local"):
        pass
    assert [address for address, _ in asked] == ["local"]


@pytest.mark.parametrize(
    ("address", "sets", "name", "persons"),
    [
        ("local", {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}, "RAY_worker_niceness", "9"),
        ("auto", {"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE", "disabled"),
    ],
)
def test_variables_are_set_for_one_connection_and_those_of_a_person_stay(
    asked, monkeypatch, address, sets, name, persons
):
    monkeypatch.setattr("bench.cluster.connection._has_token", lambda: True)
    for before in ({}, {name: persons}):
        for key, value in before.items():
            monkeypatch.setenv(key, value)
        with connected(address):
            pass
        assert asked.pop() == (address, sets | before)
        assert {key: value for key, value in os.environ.items() if key.startswith("RAY_")} == before


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
