"""Exports: an artifact as a file that other tools run. Importing this imports no torch and no runtime's package."""

from bench.exporting.aoti import AotiFormat
from bench.exporting.base import Format
from bench.exporting.onnx import OnnxFormat
from bench.exporting.openvino import OpenVinoFormat
from bench.exporting.pt2 import Pt2Format

FORMATS: dict[str, Format] = {form.name: form for form in (OnnxFormat(), OpenVinoFormat(), Pt2Format(), AotiFormat())}

__all__ = ["FORMATS", "Format"]
