"""pt2: torch's exported program, for `torch.export.load` in Python and for compilers of torch; facts are beside it.

Quantised networks hold int8 codes and `quantized_decomposed` operations, which torch defines in a module that has to be
imported before the file is loaded; the facts name it.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.exporting.base import Facts, Format, read_facts, write_facts
from bench.runtimes import RuntimeFailure, Session
from bench.runtimes.base import one_line
from bench.runtimes.kernels import Kernels

if TYPE_CHECKING:
    from torch.fx import GraphModule

IMPORT_FIRST = "import_first"  # the fact that names that module; absent where none is needed
_QUANTIZED_OPERATIONS = "torch.ao.quantization.fx._decomposed"
_LARGEST_BATCH = 65536


class Pt2Format(Format):
    name, suffix, default_suffix = "pt2", ".pt2", ".pt2"

    def unavailable(self) -> str | None:
        return None if importlib.util.find_spec("torch") else "torch is not installed: pip install -r requirements.txt"

    def write(self, model: GraphModule, facts: Facts, path: Path) -> None:
        import torch

        from bench.runtimes.lowering import spelled_out

        example = torch.zeros(2, *facts["input_shape"])
        free = ({0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)},)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the exporter's own insides
                program = torch.export.export(spelled_out(model).eval().cpu(), (example,), dynamic_shapes=free)
                torch.export.save(program, path)
        except Exception as error:  # the exporter runs other people's code on any network and raises anything
            raise RuntimeFailure(f"torch.export fails: {one_line(error)}") from error
        needed = any("quantized_decomposed" in str(node.target) for node in program.graph.nodes)
        write_facts({**facts, **({IMPORT_FIRST: _QUANTIZED_OPERATIONS} if needed else {})}, path)

    def facts(self, path: Path) -> Facts:
        return read_facts(path)

    def load(self, path: Path, threads: int) -> Session:
        import torch

        torch.set_num_threads(threads)
        try:
            if module := self.facts(path).get(IMPORT_FIRST):
                importlib.import_module(module)
            return _ProgramSession(torch.export.load(path).module())
        except Exception as error:  # torch raises anything
            raise RuntimeFailure(f"torch refuses the exported program: {one_line(error)}") from error


class _ProgramSession(Session):
    """An exported program, operation by operation."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def run(self, images: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self._module(torch.from_numpy(images)).float().numpy()

    def kernels(self) -> Kernels:
        return Kernels()  # it is read back to compare its logits, not timed
