"""Quantisation to int8: after training (`PTQ`) and while training (`QAT`)."""

from methods.quantization.ptq import PTQ
from methods.quantization.qat import QAT

__all__ = ["PTQ", "QAT"]
