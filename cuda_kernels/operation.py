"""What an operation's folder declares: its variants, the data it is checked on and the sizes it is timed at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Arguments = tuple[Any, ...]  # of the operation's function, `variant` aside
Make = Callable[[torch.Generator, torch.device], Arguments]


@dataclass(frozen=True)
class Variant:
    """One way to compute an operation, slow ones kept so that the fast ones can be understood."""

    name: str  # of the entry point OPERATION_NAME
    idea: str  # a sentence
    capability: tuple[int, int] = (7, 5)  # the least that it runs on
    exact: bool = False  # it runs on that capability alone (wgmma)

    def runs_on(self, capability: tuple[int, int]) -> bool:
        return capability == self.capability if self.exact else capability >= self.capability


@dataclass(frozen=True)
class Check:
    """Data on which every variant has to agree with the reference.

    make: from a seeded generator and a device, the arguments. Numbers are drawn on the generator's own device, which is
        the CPU for checks and the GPU for workloads.
    tolerance: largest ||out - reference|| / ||reference||; 0 asks for equality.
    """

    name: str
    make: Make
    tolerance: float
    variants: tuple[str, ...] | None = None  # None: all


@dataclass(frozen=True)
class Vendor:
    """The same work by a vendor's library.

    prepare: takes the arguments, converts them where the library wants another form (untimed), and returns the call
        to be timed. Raises RuntimeError or NotImplementedError where the library cannot do it, which the table says.
    """

    name: str  # "cuBLAS (torch.mm)"
    prepare: Callable[[Arguments], Callable[[], Tensor]]


@dataclass(frozen=True)
class Workload:
    """A size to time at.

    operations, bytes: the least arithmetic, and the least traffic with device memory, that the task needs (inputs read
        once, outputs written once).
    unit: which of the machine's ceilings the arithmetic is held against: "fp32", "fp16" or "int8".
    goal: (vendor's name or "copy bandwidth", at least this ratio vendor time / our time, or share of bandwidth).
    variants: which are timed; slow ones may be left out of large sizes. None: all.
    zeros: share of the matrix, of sparse products.
    """

    name: str
    make: Make
    operations: float
    bytes: float
    unit: str
    vendors: tuple[Vendor, ...]
    goal: tuple[str, float] | None = None
    variants: tuple[str, ...] | None = None
    zeros: float | None = None


@dataclass(frozen=True)
class Operation:
    """An operation.

    run: the typed function in `op.py`, called as run(*arguments, variant=name).
    reference: plain torch with double accumulation, called as reference(*arguments).
    registers: by part of a kernel's name, the most registers a thread of it may use; spills are never allowed.
    """

    name: str
    summary: str
    variants: tuple[Variant, ...]
    run: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    checks: tuple[Check, ...]
    workloads: tuple[Workload, ...]
    registers: Mapping[str, int] = field(default_factory=dict)
