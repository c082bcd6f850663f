"""Compression methods. `METHODS` is the one table of them, by the name that the command line uses: add yours here."""

from methods.base import CompressionMethod, Pipeline, Task
from methods.controls import Longer, Small, Xz
from methods.distillation import Distill
from methods.ensemble import Ensemble
from methods.lowrank import LowRank
from methods.pruning import Prune
from methods.quantization import PTQ, QAT, Dynamic, Half, WeightOnly
from methods.sharing import Binary, Cluster, Ternary
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
    "dynamic": Dynamic,
    "weight_only": WeightOnly,
    "half": Half,
    "cluster": Cluster,
    "ternary": Ternary,
    "binary": Binary,
    "prune": Prune,
    "distill": Distill,
    "ensemble": Ensemble,
    "longer": Longer,
    "small": Small,
    "xz": Xz,
}

__all__ = [
    "DCT",
    "DFT",
    "DST",
    "METHODS",
    "PTQ",
    "QAT",
    "Binary",
    "Cluster",
    "CompressionMethod",
    "Distill",
    "Dynamic",
    "Ensemble",
    "Hadamard",
    "Half",
    "Longer",
    "LowRank",
    "Pipeline",
    "Prune",
    "RandomBasis",
    "Small",
    "Task",
    "Ternary",
    "Wavelet",
    "WeightOnly",
    "Xz",
]  # fmt: skip
