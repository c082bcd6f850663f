"""Compression methods. `METHODS` is the one table of them, by the name that the command line uses: add yours here."""

from methods.base import CompressionMethod, Pipeline, Task
from methods.lowrank import LowRank
from methods.pruning import MagnitudePruning
from methods.quantization import PTQ, QAT
from methods.spectral import DCT, DFT, DST, Hadamard, RandomBasis, Wavelet

METHODS: dict[str, type[CompressionMethod]] = {
    "dct": DCT,
    "dst": DST,
    "dft": DFT,
    "wavelet": Wavelet,
    "hadamard": Hadamard,
    "random_basis": RandomBasis,
    "lowrank": LowRank,
    "ptq": PTQ,
    "qat": QAT,
    "prune": MagnitudePruning,
}

__all__ = [
    "DCT", "DFT", "DST", "METHODS", "PTQ", "QAT", "CompressionMethod", "Hadamard", "LowRank", "MagnitudePruning",
    "Pipeline", "RandomBasis", "Task", "Wavelet",
]  # fmt: skip
