"""Energy of the GPU over a loop of batches, from NVML's counter. It counts the whole device, idle power included."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.measure.latency import Run
from bench.measure.nvml import Gpu
from bench.records import Measurement

WINDOW_S = 1.0  # the counter moves in steps of up to 0.1 s: a window of 1 s keeps that error at about 10 %
WINDOWS = 3


@dataclass(frozen=True)
class Energy:
    """Joules for one image, or the reason why there are none."""

    measurement: Measurement | None
    reason: str = ""


def energy(gpu: Gpu | str, run: Run, batch: int, device: str, clock: Callable[[], float] = time.perf_counter) -> Energy:
    """Energy of `run`, which computes `batch` images and returns when the device has finished.

    gpu: an open device, or the reason why there is none.
    One sample for each of `WINDOWS` windows of at least `WINDOW_S` seconds: joules per image.
    """
    if isinstance(gpu, str):
        return Energy(None, gpu)
    samples, images = [], 0
    try:
        run()
        for _ in range(WINDOWS):
            passes, begin, before = 0, clock(), gpu.energy_j()
            while clock() - begin < WINDOW_S:
                run()
                passes += 1
            samples.append((gpu.energy_j() - before) / (passes * batch))
            images += passes * batch
    except gpu.pynvml.NVMLError as error:
        return Energy(None, f"NVML: {error}")
    protocol = {
        "batch": batch,
        "per": "image",
        "scope": "whole device, idle power included",
        "window_s": WINDOW_S,
        "images": images,
        "device": device,
    }
    return Energy(Measurement("energy", "J", tuple(samples), protocol))
