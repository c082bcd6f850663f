"""Compression methods. `METHODS` is the one table of them, by the name that the command line uses: add yours here."""

from methods.base import CompressionMethod, Pipeline, Task
from methods.pruning import MagnitudePruning
from methods.quantization import PTQ, QAT
from methods.spectral import DCT

METHODS: dict[str, type[CompressionMethod]] = {
    "dct": DCT,
    "ptq": PTQ,
    "qat": QAT,
    "prune": MagnitudePruning,
}

__all__ = ["DCT", "METHODS", "PTQ", "QAT", "CompressionMethod", "MagnitudePruning", "Pipeline", "Task"]
