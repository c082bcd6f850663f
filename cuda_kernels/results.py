"""What a run of the kernels found, as plain data: written by `python -m cuda_kernels`, drawn by `reports.kernels`.

Standard library only, so that a report can be drawn again at any time without torch.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Ceilings:
    """What the GPU can do at most. Bandwidths are measured; arithmetic is counted: units x clock."""

    copy_bytes_per_s: float  # a large copy on the device, bytes read plus bytes written
    to_device_bytes_per_s: float  # from page-locked memory of the host
    to_host_bytes_per_s: float
    cache_bytes: int  # second level
    operations_per_s: dict[str, float]  # "fp32", "fp16" and "int8" at the highest clock; a multiply-add is two

    def least_s(self, operations: float, moved_bytes: float, unit: str) -> float:
        """Seconds that the work takes at least: arithmetic or traffic with memory, whichever is longer."""
        return max(operations / self.operations_per_s[unit], moved_bytes / self.copy_bytes_per_s)


@dataclass(frozen=True)
class CheckOutcome:
    """A variant's distance to the reference on one set of data: ||out - reference|| / ||reference||."""

    operation: str
    variant: str
    check: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # NaN is not


@dataclass(frozen=True)
class Timing:
    """Samples of one way to do one workload, each of one call from cold caches."""

    name: str  # a variant, or a vendor's library
    is_variant: bool
    samples_s: tuple[float, ...] = ()
    refused: str | None = None  # why there are none

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples_s) if self.samples_s else float("nan")


@dataclass(frozen=True)
class WorkloadResult:
    """A size, and what every variant and vendor took for it, by turns."""

    operation: str
    workload: str
    operations: float
    bytes: float
    unit: str
    input_bytes: int  # what would have to be moved to the device, and back, if it lay on the host
    output_bytes: int
    goal: tuple[str, float] | None
    timings: tuple[Timing, ...]
    zeros: float | None = None  # share of the matrix, of sparse products

    def best(self) -> Timing | None:
        """The fastest variant."""
        done = [one for one in self.timings if one.is_variant and one.samples_s]
        return min(done, key=lambda one: one.median_s) if done else None

    def vendors(self) -> list[Timing]:
        return [one for one in self.timings if not one.is_variant]


@dataclass(frozen=True)
class VariantCard:
    """A variant in words."""

    name: str
    idea: str
    runs_on: str


@dataclass(frozen=True)
class OperationCard:
    """An operation in words."""

    name: str
    summary: str
    variants: tuple[VariantCard, ...]


@dataclass(frozen=True)
class KernelResources:
    """What the assembler says of one kernel on one target."""

    operation: str
    kernel: str  # the function's name, template arguments aside
    target: str  # "sm_90a"
    registers: int  # per thread
    spill_bytes: int  # stores and loads per thread that left the registers
    stack_bytes: int  # per thread


@dataclass(frozen=True)
class Need:
    """What a workload needs at least, and what is hoped for."""

    workload: str
    operations: float
    bytes: float
    unit: str  # as of `Ceilings.operations_per_s`
    goal: tuple[str, float] | None
    zeros: float | None = None


@dataclass(frozen=True)
class Peaks:
    """What a GPU could do at most by its data sheet; nothing here is measured."""

    device: str  # with what the numbers are made of
    bytes_per_s: float
    operations_per_s: dict[str, float]


@dataclass(frozen=True)
class Sheet:
    """What is known of an operation without a GPU: its variants, what its workloads need, what the compiler says."""

    card: OperationCard
    needs: tuple[Need, ...]
    register_limits: dict[str, int]  # by part of a kernel's name
    resources: tuple[KernelResources, ...]


@dataclass(frozen=True)
class KernelRun:
    """Everything a run found."""

    command: str
    device: str
    capability: tuple[int, int]
    environment: dict[str, Any]
    ceilings: Ceilings
    cards: tuple[OperationCard, ...]
    checks: tuple[CheckOutcome, ...]
    workloads: tuple[WorkloadResult, ...]


def write_run(run: KernelRun, path: Path) -> Path:
    """Writes a run as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": SCHEMA, **asdict(run)}, indent=1) + "\n", encoding="utf-8")
    return path


def read_run(path: Path) -> KernelRun:
    """Reads what `write_run` wrote.

    Raises:
        ValueError: the file is damaged or of another schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema") != SCHEMA:
            raise ValueError(f"{path} is of another schema than {SCHEMA}: run python -m cuda_kernels again")
        return KernelRun(
            command=data["command"],
            device=data["device"],
            capability=tuple(data["capability"]),
            environment=data["environment"],
            ceilings=Ceilings(**data["ceilings"]),
            cards=tuple(_card(one) for one in data["cards"]),
            checks=tuple(CheckOutcome(**one) for one in data["checks"]),
            workloads=tuple(_workload(one) for one in data["workloads"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): run python -m cuda_kernels again") from error


def _card(data: dict[str, Any]) -> OperationCard:
    return OperationCard(data["name"], data["summary"], tuple(VariantCard(**one) for one in data["variants"]))


def _workload(data: dict[str, Any]) -> WorkloadResult:
    timings = tuple(Timing(**(one | {"samples_s": tuple(one["samples_s"])})) for one in data.pop("timings"))
    goal = data.pop("goal")
    return WorkloadResult(**data, goal=None if goal is None else (goal[0], goal[1]), timings=timings)
