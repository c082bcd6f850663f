"""What the memory process does: reads one file, runs one batch, and says how much memory that took.

Modules that a runtime may not need are imported inside functions, to keep them out of the process under test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from baselines.collector import collector_off
from bench.measure.memory import Watch, watch
from bench.measure.messages import MemoryAnswer, MemoryRequest
from bench.measure.nvml import Gpu, open_gpu
from bench.records import Measurement

PASSES = 2


def memory(request: MemoryRequest) -> MemoryAnswer:
    """Memory of this process while it reads what the runtime deploys and runs it once, and while it goes on running."""
    with collector_off():  # before the watch: asking imports what the runtime needs
        from bench.runtimes import RUNTIMES

        runtime = RUNTIMES[request.runtime]
        reason = runtime.unavailable(request.device)
    if reason:
        raise RuntimeError(reason)
    read = _reader(request)
    images = np.zeros((request.batch, *request.input_shape), dtype=np.float32)  # [n, c, h, w]
    deployed = None if request.deployed is None else Path(request.deployed)
    reading = watch()
    session = runtime.load(read(), deployed, threads=request.threads, device=request.device)
    session.run(images)  # some runtimes compile or pack weights now
    read_peak = reading.peak_bytes()
    running = watch()
    for _ in range(PASSES):
        session.run(images)
    on_gpu, reason = _gpu_measurements(request)
    return MemoryAnswer(_resident(reading, read_peak, running, request) + on_gpu, reason)


def _reader(request: MemoryRequest) -> Callable[[], Any]:
    """Reads the network from the artifact, where that is what the runtime runs from."""
    if request.deployed is not None:
        return lambda: None
    from bench.artifact import load

    return lambda: load(Path(request.artifact)).model


def _protocol(request: MemoryRequest) -> dict[str, Any]:
    return {
        "batch": request.batch,
        "threads": request.threads,
        "runtime": request.runtime,
        "device": request.device,
        "torch_imported": "torch" in sys.modules,
    }


def _resident(reading: Watch, read_peak: int, running: Watch, request: MemoryRequest) -> tuple[Measurement, ...]:
    """The whole process while the network runs, while it is read and run for the first time, and before."""
    protocol = {**_protocol(request), "source": running.source, "reset": running.reset}
    baseline = float(reading.baseline_bytes)
    return (
        Measurement("peak_memory", "B", (float(running.peak_bytes()),), {**protocol, "baseline_bytes": baseline}),
        Measurement("reading_memory", "B", (float(read_peak),), protocol),
        Measurement("baseline_memory", "B", (baseline,), protocol),
    )


def _gpu_measurements(request: MemoryRequest) -> tuple[tuple[Measurement, ...], str]:
    """Device memory as the allocator and as the driver see it; what the driver does not tell is a reason."""
    if request.gpu_uuid is None:
        return (), ""
    found = []
    if request.deployed is None:
        import torch

        peak = float(torch.cuda.max_memory_allocated(request.device))
        found.append(Measurement("gpu_memory_allocator", "B", (peak,), _protocol(request)))
    gpu = open_gpu(request.gpu_uuid)
    if not isinstance(gpu, Gpu):
        return tuple(found), f"no device memory: {gpu}"
    try:
        used, scope = gpu.memory_bytes()
    except gpu.pynvml.NVMLError as error:
        return tuple(found), f"no device memory: NVML: {error}"
    protocol = {**_protocol(request), "scope": scope}
    return (*found, Measurement("gpu_memory_nvml", "B", (float(used),), protocol)), ""
