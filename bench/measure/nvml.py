"""The driver's view of a GPU. Everything here works without one: then there is a reason instead of a reading."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """An open NVML device."""

    pynvml: Any  # the module, from the package nvidia-ml-py
    handle: Any

    def energy_j(self) -> float:
        """The energy that the whole device has used since the driver was loaded, in joules.

        Raises:
            pynvml.NVMLError: the device has no energy counter (before Volta).
        """
        return self.pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1000  # from millijoules

    def memory_bytes(self) -> tuple[int, str]:
        """Device memory in use and whose it is: "process", or "device" where the driver does not tell them apart.

        Inside a container the driver may list processes under other ids, or without their memory.
        """
        for process in self.pynvml.nvmlDeviceGetComputeRunningProcesses(self.handle):
            if process.pid == os.getpid() and process.usedGpuMemory:
                return int(process.usedGpuMemory), "process"
        return int(self.pynvml.nvmlDeviceGetMemoryInfo(self.handle).used), "device"


def open_gpu(uuid: str) -> Gpu | str:
    """The device of that UUID ("GPU-..."), or the reason why it cannot be asked.

    By UUID, because CUDA's numbers follow CUDA_VISIBLE_DEVICES and NVML's do not.
    """
    try:
        import pynvml
    except ImportError:
        return "pynvml is not installed (package nvidia-ml-py)"
    try:
        pynvml.nvmlInit()
        return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
    except pynvml.NVMLError as error:
        return f"NVML: {error}"


def cuda_uuid(device: str) -> str | None:
    """The UUID of a torch device ("cuda", "cuda:1") as NVML writes it; None for a device that is no GPU here."""
    if not device.startswith("cuda"):
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    uuid = str(torch.cuda.get_device_properties(torch.device(device)).uuid)
    return uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
