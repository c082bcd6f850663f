"""What products of a sparse matrix, by compressed rows, are checked on and held against, whatever they multiply by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cuda_kernels.csr import to_csr, to_dense
from cuda_kernels.operation import Arguments, Make, Vendor


def random_sparse(rows: int, columns: int, kept: float, *n: int, scale: float = 1.0) -> Make:
    """A matrix [rows, columns] by compressed rows, and what it is multiplied by: [columns], or [columns, n].

    kept: the probability that an entry is not zero. scale: of the entries.
    """

    def make(generator: torch.Generator, device: torch.device) -> Arguments:
        dense = torch.randn(rows, columns, generator=generator, device=generator.device)
        dense *= scale * (torch.rand(rows, columns, generator=generator, device=generator.device) < kept)
        other = torch.randn(columns, *n, generator=generator, device=generator.device)
        return tuple(one.to(device) for one in (*to_csr(dense), other))

    return make


def off_boundary(make: Make) -> Make:
    """The same values in contiguous tensors that start 4 bytes past a 16-byte boundary."""

    def moved(generator: torch.Generator, device: torch.device) -> Arguments:
        tensors = make(generator, torch.device("cpu"))
        return tuple(torch.cat([one.new_zeros(1), one.flatten()]).to(device)[1:].view(one.shape) for one in tensors)

    return moved


def sparse_vendors(product: Callable[[Tensor, Tensor], Tensor]) -> tuple[Vendor, Vendor]:
    """cuSPARSE, and cuBLAS on the dense matrix; product: `torch.mv` or `torch.mm`."""

    def cusparse(arguments: Arguments) -> Callable[[], Tensor]:
        row_starts, columns, values, other = arguments
        a = torch.sparse_csr_tensor(row_starts, columns, values, (len(row_starts) - 1, len(other)))
        return lambda: product(a, other)

    def dense(arguments: Arguments) -> Callable[[], Tensor]:
        row_starts, columns, values, other = arguments
        a = to_dense(row_starts, columns, values, len(other))
        return lambda: product(a, other)

    name = f"torch.{product.__name__}"
    return Vendor(f"cuSPARSE ({name})", cusparse), Vendor(f"cuBLAS dense ({name})", dense)
