"""Methods that hold weights at zero."""

from methods.pruning.prune import Prune

__all__ = ["Prune"]
