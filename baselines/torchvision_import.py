"""The one place that imports torchvision.

torchvision's wheel is built against a CUDA torch. On a CPU torch its import stops at a missing operator schema.
Defining the schema first would abort the process where the import works, so the import is tried first and mended only
on exactly that error. Everything of ours that needs torchvision, or a library that imports it (timm), comes through
here.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_MISSING = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_defined: list[torch.library.Library] = []  # a library's schemas go when the object does


def import_torchvision() -> ModuleType:
    """torchvision, with its models, datasets and transforms (not `torchvision.io`, nor `ops.nms`, on CPU torch)."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error) or _defined:
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _defined.append(library)
    return importlib.import_module("torchvision")
