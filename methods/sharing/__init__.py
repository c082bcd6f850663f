"""Weights that share few values: any 2^bits of them (`Cluster`), three (`Ternary`) or two (`Binary`)."""

from methods.sharing.binary import Binary
from methods.sharing.cluster import Cluster
from methods.sharing.ternary import Ternary

__all__ = ["Binary", "Cluster", "Ternary"]
