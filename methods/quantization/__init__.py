"""Few bits: after training (`PTQ`, `Dynamic`, `WeightOnly`, `Half`) and while training (`QAT`)."""

from methods.quantization.dynamic import Dynamic
from methods.quantization.half import Half
from methods.quantization.ptq import PTQ
from methods.quantization.qat import QAT
from methods.quantization.weight_only import WeightOnly

__all__ = ["PTQ", "QAT", "Dynamic", "Half", "WeightOnly"]
