"""Size as four separate numbers, all read from the file's own ledger: parameters, non-zeros, information, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.records import TensorEntry


@dataclass(frozen=True)
class Size:
    """What is stored in one artifact. Masks, scales, batch norms, graph and header all count in `file_bytes`."""

    parameters: int  # stored values
    nonzeros: int
    information_bits: float  # of each tensor, summed; the container has none (bench/artifact/information.py)
    file_bytes: int


def size_of(ledger: Sequence[TensorEntry], file_bytes: int) -> Size:
    """Sums the ledger of a file of `file_bytes` bytes.

    Raises:
        ValueError: the ledger does not account for every byte of the file.
    """
    listed = sum(entry.bytes for entry in ledger)
    if listed != file_bytes:
        raise ValueError(f"the size ledger lists {listed} bytes, the file has {file_bytes}: write the artifact again")
    return Size(
        parameters=sum(entry.parameters for entry in ledger),
        nonzeros=sum(entry.nonzeros for entry in ledger),
        information_bits=float(sum(entry.information_bits for entry in ledger)),
        file_bytes=file_bytes,
    )
