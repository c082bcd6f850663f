"""Learning from a teacher: a student network, or any other method's training."""

from methods.distillation.distill import Distill
from methods.distillation.taught import Taught

__all__ = ["Distill", "Taught"]
