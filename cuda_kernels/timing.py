"""Times variants and vendors by turns with CUDA events, each call from cold caches, and measures the GPU's ceilings.

The protocol: all are warmed up; then in each round every one is called once. Before a call the second-level cache is
emptied of its data by reading a large buffer (reading, since written lines would have to be stored during the
measurement), and the GPU is kept busy long enough for the host to queue the whole call: what the events measure is the
GPU's time, launches between kernels of one call included, and the host's time is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from cuda_kernels.operation import Operation, Workload
from cuda_kernels.results import Ceilings, Timing, WorkloadResult

_SEED = 20260102
_WARM_UP = 3
_ROUNDS_AT_LEAST, _ROUNDS_AT_MOST = 9, 60
_BUSY_CYCLES = 300_000  # about 0.2 ms, longer than the host takes to queue a call
_COPIED_BYTES = 1 << 30
# Operations of one multiprocessor in a clock, a multiply-add being two: CUDA C++ Programming Guide, "Arithmetic
# Instructions", for fp32; the architectures' white papers for dense tensor-core products with fp32 or int32 sums.
PER_CLOCK = {
    (7, 5): {"fp32": 128, "fp16": 1024, "int8": 2048},
    (8, 0): {"fp32": 128, "fp16": 2048, "int8": 4096},
    (8, 6): {"fp32": 256, "fp16": 1024, "int8": 2048},
    (8, 9): {"fp32": 256, "fp16": 1024, "int8": 2048},
    (9, 0): {"fp32": 256, "fp16": 4096, "int8": 8192},
}


class Stopwatch:
    """Takes samples on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cache = torch.cuda.get_device_properties(device).L2_cache_size
        self._flushed = torch.ones(max(4 * cache, 1 << 26) // 4, device=device)

    def sample_s(self, call: Callable[[], object]) -> float:
        """Seconds of one call from cold caches."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._flushed.sum()
        torch.cuda._sleep(_BUSY_CYCLES)
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def by_turns(self, calls: Mapping[str, Callable[[], object]], budget_s: float) -> dict[str, tuple[float, ...]]:
        """Samples of each call, all in turn in every round, for about `budget_s` seconds."""
        for call in calls.values():
            for _ in range(_WARM_UP):
                call()
        torch.cuda.synchronize(self._device)
        rounds = self._rounds(calls, budget_s)
        samples = [{name: self.sample_s(call) for name, call in calls.items()} for _ in range(rounds)]
        return {name: tuple(one[name] for one in samples) for name in calls}

    def _rounds(self, calls: Mapping[str, Callable[[], object]], budget_s: float) -> int:
        overhead_s = 5e-4
        once_s = sum(self.sample_s(call) + overhead_s for call in calls.values())
        return int(min(max(budget_s / max(once_s, 1e-9), _ROUNDS_AT_LEAST), _ROUNDS_AT_MOST))


def time_workload(
    operation: Operation,
    workload: Workload,
    stopwatch: Stopwatch,
    device: torch.device,
    budget_s: float,
    wrong: frozenset[str] = frozenset(),
) -> WorkloadResult:
    """Every variant that runs here, and every vendor, on one workload. `wrong`: variants that failed a check."""
    arguments = workload.make(torch.Generator(device).manual_seed(_SEED), device)
    calls: dict[str, Callable[[], Tensor]] = {}
    refused: dict[str, str] = {}
    capability = torch.cuda.get_device_capability(device)
    for variant in operation.variants:
        if workload.variants is not None and variant.name not in workload.variants:
            continue
        if variant.name in wrong:
            refused[variant.name] = "failed a check"
        elif variant.runs_on(capability):
            calls[variant.name] = partial(operation.run, *arguments, variant=variant.name)
        else:
            refused[variant.name] = "not for this GPU"
    for vendor in workload.vendors:
        try:
            calls[vendor.name] = vendor.prepare(arguments)
            calls[vendor.name]()
            torch.cuda.synchronize(device)
        except (RuntimeError, NotImplementedError, ValueError, AttributeError) as error:
            calls.pop(vendor.name, None)
            refused[vendor.name] = str(error).strip().partition("\n")[0][:120] or type(error).__name__
    variants = {variant.name for variant in operation.variants}
    samples = stopwatch.by_turns(calls, budget_s)
    tensors = [one for one in arguments if isinstance(one, Tensor)]
    out = next(iter(calls.values()))()
    return WorkloadResult(
        operation=operation.name,
        workload=workload.name,
        operations=workload.operations,
        bytes=workload.bytes,
        unit=workload.unit,
        input_bytes=sum(one.numel() * one.element_size() for one in tensors),
        output_bytes=out.numel() * out.element_size(),
        goal=workload.goal,
        zeros=workload.zeros,
        timings=(
            *(Timing(name, name in variants, taken) for name, taken in samples.items()),
            *(Timing(name, name in variants, refused=reason) for name, reason in refused.items()),
        ),
    )


def ceilings(stopwatch: Stopwatch, device: torch.device) -> Ceilings:
    """What this GPU can do at most."""
    source = torch.randn(_COPIED_BYTES // 4, device=device)
    goal = torch.empty_like(source)
    host = torch.empty(_COPIED_BYTES // 16, pin_memory=True)
    part = source[: host.numel()]
    calls = {
        "copy": lambda: goal.copy_(source),
        "to device": lambda: part.copy_(host, non_blocking=True),
        "to host": lambda: host.copy_(part, non_blocking=True),
    }
    times = {name: sorted(taken)[len(taken) // 2] for name, taken in stopwatch.by_turns(calls, 0.5).items()}
    sizes = {"copy": 2.0 * _COPIED_BYTES, "to device": _COPIED_BYTES / 4, "to host": _COPIED_BYTES / 4}
    rates = {name: sizes[name] / times[name] for name in calls}
    properties = torch.cuda.get_device_properties(device)
    clocks_per_s = properties.multi_processor_count * highest_clock_hz(device)
    known = [one for one in PER_CLOCK if one <= (properties.major, properties.minor)]
    return Ceilings(
        rates["copy"],
        rates["to device"],
        rates["to host"],
        properties.L2_cache_size,
        {unit: count * clocks_per_s for unit, count in PER_CLOCK[max(known)].items()},
    )


def highest_clock_hz(device: torch.device) -> float:
    """The multiprocessors' highest clock, as the driver gives it."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(device.index or 0)
    return 1e6 * pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)
