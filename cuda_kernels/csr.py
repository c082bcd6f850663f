"""Sparse matrices by compressed rows: where each row starts, then column and value of each entry, row after row."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_kernels.arguments import expect, same_device

MOST_ENTRIES = 2**31 - 1  # positions are int32


def to_csr(dense: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """row_starts int32 [rows + 1], columns int32 [entries], values [entries] of what is not zero in [rows, columns].

    Raises:
        ValueError: it is no matrix, or has more than 2^31 - 1 entries.
    """
    if dense.dim() != 2:
        raise ValueError(f"a matrix is needed, got shape {list(dense.shape)}")
    kept = dense != 0
    rows, columns = kept.nonzero(as_tuple=True)
    if len(rows) > MOST_ENTRIES:
        raise ValueError(f"int32 positions count {MOST_ENTRIES} entries, got {len(rows)}: split the matrix by rows")
    row_starts = torch.zeros(dense.shape[0] + 1, dtype=torch.int32, device=dense.device)
    row_starts[1:] = kept.sum(1).cumsum(0)
    return row_starts, columns.int(), dense[rows, columns]


def product(row_starts: Tensor, columns: Tensor, values: Tensor, b: Tensor) -> Tensor:
    """The matrix times [columns, n] -> [rows, n], in plain torch. A row of b that no entry needs is not touched."""
    return torch.sparse.mm(_coordinates(row_starts, columns, values, len(b)), b)


def to_dense(row_starts: Tensor, columns: Tensor, values: Tensor, width: int) -> Tensor:
    """[rows, width] of the type of `values`."""
    return _coordinates(row_starts, columns, values, width).to_dense()


def _coordinates(row_starts: Tensor, columns: Tensor, values: Tensor, width: int) -> Tensor:
    counts = row_starts.diff().long()
    rows = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    places = torch.stack([rows, columns.long()])
    return torch.sparse_coo_tensor(places, values, (len(counts), width), is_coalesced=True, check_invariants=False)


def expect_csr(row_starts: Tensor, columns: Tensor, values: Tensor) -> None:
    """Raises unless these have the shapes and types of a matrix of float32. What they hold is not looked at, since that
    would have to wait for the GPU: `check_csr` does.

    Raises:
        ValueError, TypeError: shapes, strides, devices or types are off.
    """
    expect(row_starts, "row_starts", (None,), (torch.int32,))
    expect(columns, "columns", (None,), (torch.int32,))
    expect(values, "values", (columns.shape[0],), (torch.float32,))
    same_device(row_starts=row_starts, columns=columns, values=values)
    if not len(row_starts):
        raise ValueError("row_starts must have shape [rows + 1], got [0]")


def check_csr(row_starts: Tensor, columns: Tensor, values: Tensor, width: int) -> None:
    """Raises unless the matrix makes sense as one of `width` columns: a kernel given another reads what is not its own.

    Raises:
        ValueError: row starts or columns are out of range, or columns of a row are not in ascending order.
        TypeError: types are off.
    """
    expect_csr(row_starts, columns, values)
    if row_starts[0] != 0 or row_starts[-1] != len(columns) or bool((row_starts.diff() < 0).any()):
        raise ValueError(
            f"row_starts must ascend from 0 to the number of entries, {len(columns)}, got {row_starts[0].item()} to "
            f"{row_starts[-1].item()}{' and a step down' if bool((row_starts.diff() < 0).any()) else ''}"
        )
    if not len(columns):
        return
    low, high = columns.min().item(), columns.max().item()
    if low < 0 or high >= width:
        raise ValueError(f"columns must be in [0, {width}), got {low} to {high}")
    first = torch.zeros(len(columns) + 1, dtype=torch.bool, device=columns.device)
    first[row_starts.long()] = True
    if bool(((columns.diff() <= 0) & ~first[1:-1]).any()):
        raise ValueError("columns must ascend within each row: sort them, as to_csr does")
