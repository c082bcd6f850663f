"""Networks that settings of methods name: whether there are such, which ones a scan stands for, what they hang on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.fx import GraphModule

from baselines.data import ImageData
from baselines.errors import UsageError
from baselines.nets import students
from bench import artifact
from bench.grammar import Named
from bench.plan import Source
from methods.base import Refused
from methods.graph import UntraceableError, trace

NOT_NAMES = ("dense", "input")  # of trained networks: the chain's dense one, and what the method is given


@dataclass(frozen=True)
class Naming:
    """What a name of a network stands for, on the data and with the options at hand: a `bench.grammar.Networks`."""

    data: ImageData
    make_network: Callable[[str, int], nn.Module]
    source_of: Callable[[str], Source]

    def __call__(self, text: str, trained: bool) -> tuple[Named, ...]:
        """
        Raises:
            UsageError: there is no such network or file, or no student is small enough.
        """
        if text in NOT_NAMES or text.endswith(".nnc"):
            if not trained:
                raise UsageError(f"{text} is a trained network: name one to be trained, as --net does")
            return (Named(text, self._of_file(Path(text)) if text.endswith(".nnc") else ""),)
        if text.partition(":")[0] == "student":
            found = students.scan(text, self.data.classes, self.data.input_shape)
        else:
            found = (text,)
        return tuple(Named(one, self._content(one, trained)) for one in found)

    def _of_file(self, path: Path) -> str:
        content = file_hash(path)
        try:
            network_in(path, self.data)
        except Refused as error:
            raise UsageError(str(error)) from error
        return content

    def _content(self, net: str, trained: bool) -> str:
        """Of a trained network all that it hangs on; of one to be trained the person's own file, if it is in one."""
        try:
            trace(self.make_network(net, 0))
        except UntraceableError as error:
            raise UsageError(f"{net}: {error}; a network must be traceable by torch.fx") from error
        source = self.source_of(net)
        return source.dense_id(0) if trained else str(source.net["file"])


def file_hash(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        UsageError: it is not there.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not there: give the path of a file")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def network_in(path: Path, data: ImageData) -> GraphModule:
    """The network of an artifact that is for these images and classes.

    Raises:
        Refused: it cannot be read, or is for others.
    """
    try:
        found = artifact.load(path)
    except (artifact.ArtifactError, OSError) as error:
        raise Refused(f"{path} cannot be read: {error}") from error
    asked = (data.classes, list(data.input_shape))
    held = (found.metadata.get("classes"), found.metadata.get("input_shape"))
    if held != asked:
        raise Refused(f"{path} is for (classes, image shape) {held}, the data have {asked}: take a file made on them")
    return found.model
