"""Latency, memory, energy and size: each measured where the right answer is known."""

from __future__ import annotations

import gc
import os
import sys
import time
import types
from typing import Any

import numpy as np
import pytest

from baselines.collector import collector_off
from bench import environment
from bench.measure.energy import WINDOW_S, energy
from bench.measure.latency import UNSTABLE, Sampling, interleaved, latency, spread
from bench.measure.memory import watch
from bench.measure.nvml import Gpu, open_gpu
from bench.measure.params import size_of
from bench.records import Measurement, TensorEntry

# Latency


class FakeTime:
    """A clock that only the runs advance."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, seconds: float) -> Any:
        def run() -> None:
            self.now += seconds
            self.log.append(name)

        return run


def test_samples_are_the_runs_own_times_by_turns_in_alternating_order() -> None:
    clock = FakeTime()
    sampling = Sampling(budget_s=0.0, min_samples=4, warmup_min=1)
    warmup, samples = interleaved([clock.run("a", 0.5), clock.run("b", 0.25)], sampling, clock)
    assert warmup == 1
    assert samples == ((0.5,) * 4, (0.25,) * 4)
    assert "".join(clock.log) == "ab" + "ab" + "ba" + "ab" + "ba"


@pytest.mark.parametrize(("seconds", "expected"), [(10.0, 20), (0.1, 27), (1e-6, 100)])
def test_the_budget_decides_between_the_bounds(seconds: float, expected: int) -> None:
    clock = FakeTime()
    _, (samples,) = interleaved([clock.run("a", seconds)], Sampling.of(1, 3.0), clock)
    assert len(samples) == expected
    assert Sampling.of(32, 3.0).min_samples == 8


def test_a_first_pass_that_compiles_does_not_eat_the_budget() -> None:
    clock = FakeTime()
    first = iter([100.0])

    def run() -> None:
        clock.now += next(first, 0.1)

    _, (samples,) = interleaved([run], Sampling.of(1, 3.0), clock)
    assert max(samples) < 0.2
    assert 26 <= len(samples) <= 28


def test_the_collector_rests_while_time_is_taken_and_returns_also_after_a_failure() -> None:
    states = []
    interleaved([lambda: states.append(gc.isenabled())], Sampling(0.0, 2))
    assert set(states) == {False}
    assert gc.isenabled()

    def explode() -> None:
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        interleaved([explode], Sampling(0.0, 2))
    assert gc.isenabled()
    with collector_off():
        with collector_off():
            pass
        assert not gc.isenabled(), "what was off stays off"


def test_a_wide_spread_is_noted_and_a_narrow_one_is_not() -> None:
    steady, shaky = (1.0, 1.01, 0.99, 1.0) * 3, (1.0, 2.0, 1.0, 0.4) * 3
    assert spread(steady) < UNSTABLE < spread(shaky)
    assert spread((1.0,)) == spread(()) == 0.0
    assert latency(steady, {"batch": 1}) == Measurement("latency", "s", steady, {"batch": 1})
    noted = latency(shaky, {"batch": 1})
    assert noted.samples == shaky
    assert noted.protocol["note"].startswith("unstable: the interquartile range is ")


def test_a_slower_run_has_larger_samples() -> None:
    _, (quick, slow) = interleaved([lambda: time.sleep(0.001), lambda: time.sleep(0.004)], Sampling(0.0, 5))
    assert min(slow) > 0.0039
    assert float(np.median(slow)) > 1.5 * float(np.median(quick))


# Memory of this process


def test_the_watch_sees_what_was_resident_and_is_gone() -> None:
    begun = watch()
    block = bytearray(96 << 20)
    block[::4096] = b"x" * len(block[::4096])
    del block
    growth = begun.peak_bytes() - begun.baseline_bytes
    assert 90 << 20 < growth < 140 << 20
    assert watch().reset is False or watch().peak_bytes() < begun.baseline_bytes + (90 << 20)


# GPU counters, with an NVML that is not there


class NVMLError(Exception):
    pass


def fake_nvml(**functions: Any) -> Any:
    module = types.ModuleType("pynvml")
    vars(module).update(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: ("handle", uuid),
        **functions,
    )
    return module


def raising(message: str) -> Any:
    def fail(*_: Any) -> Any:
        raise NVMLError(message)

    return fail


def test_energy_is_the_counters_difference_for_each_image() -> None:
    clock = FakeTime()

    def counter(handle: Any) -> float:  # 250 W, counted in millijoules from some start
        return 7e6 + 250_000 * clock.now

    gpu = Gpu(fake_nvml(nvmlDeviceGetTotalEnergyConsumption=counter), "handle")
    found = energy(gpu, clock.run("batch", 0.1), 32, "cuda", clock)
    assert found.reason == ""
    assert found.measurement is not None
    assert found.measurement.samples == pytest.approx([250 * 0.1 / 32] * 3)
    assert (found.measurement.unit, found.measurement.protocol["per"]) == ("J", "image")
    assert clock.now >= 3 * WINDOW_S


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        ({"nvmlInit": raising("Library Not Found")}, "NVML: Library Not Found"),
        ({"nvmlDeviceGetHandleByUUID": raising("Not Found")}, "NVML: Not Found"),
        ({"nvmlDeviceGetTotalEnergyConsumption": raising("Not Supported")}, "NVML: Not Supported"),
    ],
)
def test_no_counter_is_a_reason_and_not_a_crash(
    functions: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fake_nvml()
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    found = energy(open_gpu("GPU-1"), lambda: None, 1, "cuda")
    assert (found.measurement, found.reason) == (None, reason)


def test_a_missing_package_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_gpu("GPU-1") == "pynvml is not installed (package nvidia-ml-py)"


def test_device_memory_is_this_processs_where_the_driver_knows_it() -> None:
    def memory_of(processes: list[Any]) -> tuple[int, str]:
        module = fake_nvml(
            nvmlDeviceGetComputeRunningProcesses=lambda handle: processes,
            nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=900, total=1000),
        )
        return Gpu(module, "handle").memory_bytes()

    other = types.SimpleNamespace(pid=-1, usedGpuMemory=5)
    own = types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=70)
    hidden = types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)
    assert memory_of([other, own]) == (70, "process")
    assert memory_of([other, hidden]) == memory_of([]) == (900, "device")


def test_gpus_are_listed_where_the_driver_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_nvml(
        nvmlSystemGetDriverVersion=lambda: b"580.1",
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: "Big GPU",
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(total=8 << 30),
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert environment.gpus() == [{"name": "Big GPU", "memory_bytes": 8 << 30, "driver": "580.1"}]
    vars(module).update(nvmlInit=raising("Driver Not Loaded"))
    assert environment.gpus() == []


# Size


def entry(parameters: int, size: int) -> TensorEntry:
    return TensorEntry("layer", "weight", (parameters,), "dense", parameters, parameters // 2, 8.0 * parameters, size)


def test_the_ledger_is_summed_and_must_account_for_every_byte() -> None:
    size = size_of([entry(10, 40), entry(5, 21), entry(0, 7)], 68)
    assert (size.parameters, size.nonzeros, size.information_bits, size.file_bytes) == (15, 7, 120.0, 68)
    with pytest.raises(ValueError, match="lists 61 bytes, the file has 62"):
        size_of([entry(10, 40), entry(5, 21)], 62)
