"""Methods that hold weights at zero."""

from methods.pruning.magnitude import MagnitudePruning

__all__ = ["MagnitudePruning"]
