"""Every variant of an operation against its reference, on hard data, before anything is timed."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from cuda_kernels.launch import KernelError
from cuda_kernels.operation import Arguments, Check, Operation
from cuda_kernels.results import CheckOutcome

_SEED = 20260101
_POISONED_BYTES = 1 << 22  # of each size of freed memory that the next output may be carved from


def verify(operation: Operation, device: torch.device) -> Iterator[CheckOutcome]:
    """Outcomes of all checks of the variants that this GPU runs. A variant whose launch is refused fails the check."""
    capability = torch.cuda.get_device_capability(device)
    for check in operation.checks:
        arguments = make(check, device)
        kept = tuple(one.clone() if isinstance(one, Tensor) else one for one in arguments)
        expected = operation.reference(*arguments)
        for variant in operation.variants:
            if variant.runs_on(capability) and (check.variants is None or variant.name in check.variants):
                poison(expected, device)
                try:
                    out = operation.run(*arguments, variant=variant.name)
                except KernelError as refused:  # a launch that the driver refuses is that variant's fault alone
                    print(f"  {refused}", file=sys.stderr)
                    yield CheckOutcome(operation.name, variant.name, check.name, math.nan, check.tolerance)
                    continue
                torch.cuda.synchronize(device)
                error = distance(out, expected) if _same(arguments, kept) else math.nan
                yield CheckOutcome(operation.name, variant.name, check.name, error, check.tolerance)


def make(check: Check, device: torch.device) -> Arguments:
    """The arguments of a check, the same at every call."""
    return check.make(torch.Generator().manual_seed(_SEED), device)


def poison(like: Tensor, device: torch.device) -> None:
    """Fills free memory as big as `like` and smaller with NaN, so that an element which is not written shows."""
    size = max(like.numel() * like.element_size(), 1)
    blocks = [torch.full((n,), 0xFF, dtype=torch.uint8, device=device) for n in {size, _POISONED_BYTES}]
    del blocks


def distance(out: Tensor, expected: Tensor) -> float:
    """||out - expected|| / ||expected|| in double; for integers 0 or infinity; NaN where shapes or types differ or
    anything is not a number."""
    if out.shape != expected.shape or out.dtype != expected.dtype:
        return math.nan
    if not out.dtype.is_floating_point:
        return 0.0 if torch.equal(out, expected) else math.inf
    difference = torch.linalg.vector_norm(out.double() - expected.double()).item()
    norm = torch.linalg.vector_norm(expected.double()).item()
    return difference / norm if norm else (0.0 if difference == 0 else math.inf if difference > 0 else math.nan)


def _same(arguments: Arguments, kept: Arguments) -> bool:
    """Whether the inputs are what they were, bit for bit."""
    pairs = [(new, old) for new, old in zip(arguments, kept, strict=True) if isinstance(new, Tensor)]
    return all(torch.equal(new.flatten().view(torch.uint8), old.flatten().view(torch.uint8)) for new, old in pairs)
