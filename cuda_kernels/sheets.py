"""What is known of the operations without a GPU, as plain data for pages: words, counts, and the compiler's report."""

from __future__ import annotations

from collections.abc import Iterator

from cuda_kernels.build import compiler_release, resources
from cuda_kernels.catalogue import OPERATIONS
from cuda_kernels.operation import Operation
from cuda_kernels.results import KernelResources, Need, OperationCard, Peaks, Sheet, VariantCard
from cuda_kernels.timing import PER_CLOCK

_MULTIPROCESSORS, _CLOCK_HZ, _BYTES_PER_S = 132, 1.98e9, 4.8e12  # of an H200 (SXM), by its data sheet
H200 = Peaks(
    f"an H200 ({_MULTIPROCESSORS} multiprocessors at {_CLOCK_HZ / 1e9:g} GHz, {_BYTES_PER_S / 1e12:g} TB/s)",
    _BYTES_PER_S,
    {unit: count * _MULTIPROCESSORS * _CLOCK_HZ for unit, count in PER_CLOCK[9, 0].items()},
)


def card(operation: Operation) -> OperationCard:
    """An operation and its variants in words."""
    cards = tuple(
        VariantCard(
            one.name, one.idea, f"sm_{one.capability[0]}{one.capability[1]}{'a' if one.exact else ' and newer'}"
        )
        for one in operation.variants
    )
    return OperationCard(operation.name, operation.summary, cards)


def sheet(operation: Operation, compiled: tuple[KernelResources, ...]) -> Sheet:
    """compiled: what the compiler says of the operation's kernels."""
    needs = tuple(
        Need(one.name, one.operations, one.bytes, one.unit, one.goal, one.zeros) for one in operation.workloads
    )
    return Sheet(card(operation), needs, dict(operation.registers), compiled)


def sheets() -> Iterator[Sheet]:
    """A sheet of every operation; compiles what is not compiled yet.

    Raises:
        BuildFailure: nvcc is missing or refuses a source.
    """
    for name, operation in OPERATIONS.items():
        yield sheet(operation, tuple(resources(name)))


def compiler() -> str:
    """The compiler that sheets are made with.

    Raises:
        BuildFailure: there is none.
    """
    return f"nvcc {compiler_release()}"
