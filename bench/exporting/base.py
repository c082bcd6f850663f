"""What an export format is: how a file is written that others can run, and how it is run again from that file alone."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.records import write_json
from bench.runtimes.base import Session

if TYPE_CHECKING:
    from torch.fx import GraphModule

BATCH = "batch"  # the fact that states how many images a file takes at a time, besides one; absent or None: any number
Facts = dict[str, Any]  # what whoever runs the file has to know: input_shape, mean, std, class_names, chain, ...


class Format(ABC):
    """A format that artifacts are exported to. Stateless. The batch size of what it writes is free, unless the file's
    facts state a `BATCH`."""

    name: ClassVar[str]
    suffix: ClassVar[str]  # that files of the format must have
    default_suffix: ClassVar[str]  # of the file that is written where none is named

    @abstractmethod
    def unavailable(self) -> str | None:
        """The reason why nothing can be exported to this format here, with what to do about it, or None."""

    @abstractmethod
    def write(self, model: GraphModule, facts: Facts, path: Path) -> None:
        """Writes `model` for inputs [n, *facts["input_shape"]] to `path`, and what belongs to it beside it.

        Raises:
            RuntimeFailure: the network cannot be exported.
        """

    @abstractmethod
    def facts(self, path: Path) -> Facts:
        """The facts that `write` put into the file, or beside it."""

    @abstractmethod
    def load(self, path: Path, threads: int) -> Session:
        """A session over the file, which needs nothing else of this project.

        Raises:
            RuntimeFailure: its runtime refuses the file.
        """


def facts_beside(path: Path) -> Path:
    """Where facts are that the format itself has no room for."""
    return path.with_name(f"{path.name}.json")


def write_facts(facts: Facts, path: Path) -> None:
    """Writes them beside the file `path`."""
    write_json(facts, facts_beside(path))


def read_facts(path: Path) -> Facts:
    """What `write_facts` wrote."""
    return json.loads(facts_beside(path).read_text(encoding="utf-8"))
