"""aoti: a package of machine code for this kind of processor, for `torch._inductor.aoti_load_package` in Python and for
C++ without it; facts are beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.exporting.base import Facts, Format, read_facts, write_facts
from bench.runtimes import RUNTIMES, Session
from bench.runtimes.aoti import facts_of, write_package

if TYPE_CHECKING:
    from torch.fx import GraphModule


class AotiFormat(Format):
    name, suffix, default_suffix = "aoti", ".pt2", ".aoti.pt2"

    def unavailable(self) -> str | None:
        reason = RUNTIMES["aoti"].unavailable("cpu")
        return reason and f"{reason}: install one"

    def write(self, model: GraphModule, facts: Facts, path: Path) -> None:
        write_package(model, tuple(facts["input_shape"]), path)
        compiled = json.loads(facts_of(path).read_text(encoding="utf-8"))  # kernels, and the batch that it takes
        facts_of(path).unlink()
        write_facts({**facts, **compiled}, path)

    def facts(self, path: Path) -> Facts:
        return read_facts(path)

    def load(self, path: Path, threads: int) -> Session:
        return RUNTIMES["aoti"].load(None, path, threads=threads, device="cpu")
