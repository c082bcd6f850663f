"""Networks that training has paid for, by content id: shared by all cases and all runs.

An entry is one file in the artifact's container, in training form (constraints and all), so a chain goes on from it
bit for bit. An entry that is damaged counts as missing, and so does one of another version of the format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.fx import GraphModule

from baselines.world import ALONE, World
from bench import artifact
from bench.records import EpochLog, StepLog, from_data

FOLDERS_OF_A_CACHE = _STAGES, _SNAPSHOTS = "stages", "snapshots"


@dataclass(frozen=True)
class Stage:
    """A network as one stage left it."""

    model: GraphModule
    training: tuple[EpochLog, ...] = ()  # of this stage alone
    seconds: float = 0.0  # of this stage alone, all sittings
    steps: tuple[StepLog, ...] = ()  # that its method told of
    trainings: int = 1  # calls of the training loop


class StageCache:
    """Stages on disk.

    folder: made when first written to.
    complain: told, in a line, of each entry that could not be read, and once that there are some of another version.
    world: the processes that use it in lockstep: the first says what is there, and writes.
    """

    def __init__(self, folder: Path, complain: Callable[[str], None], world: World = ALONE) -> None:
        self.folder = folder
        self.say = complain
        self._world = world
        self._told: set[str] = set()

    def complain(self, text: str) -> None:
        """Tells a line, unless it was told before."""
        if text not in self._told:
            self._told.add(text)
            self.say(text)

    def path(self, stage_id: str) -> Path:
        return self.folder / _STAGES / f"{stage_id}.nnc"

    def has(self, stage_id: str) -> bool:
        """Whether there is an entry; it may still turn out to be damaged."""
        path = self.path(stage_id)
        return path.is_file() and not artifact.is_of_another_version(path)

    def load(self, stage_id: str) -> Stage | None:
        """The entry, or None where there is none that can be read."""
        found: list[Stage | None] = []

        def there() -> bool:
            found.append(self._read(stage_id))
            return found[0] is not None

        if not self._world.agreed(there):
            return None
        entry = found[0] if found else self._read(stage_id)
        if entry is None:
            raise RuntimeError(f"cache entry {self.path(stage_id)} can be read by one process and not by another")
        return entry

    def _read(self, stage_id: str) -> Stage | None:
        path = self.path(stage_id)
        if not path.is_file():
            return None
        if artifact.is_of_another_version(path):
            self.complain(f"{self.folder} has entries of another version of the file format: trained again as needed")
            return None
        try:
            found = artifact.load(path)
            logs = tuple(from_data(EpochLog, log) for log in found.metadata["training"])
            steps = tuple(from_data(StepLog, step) for step in found.metadata["steps"])
            return Stage(found.model, logs, float(found.metadata["seconds"]), steps, int(found.metadata["trainings"]))
        except (artifact.ArtifactError, KeyError, TypeError) as error:
            self.complain(f"cache entry {path} is damaged and will be made again: {error}")
            return None

    def store(self, stage_id: str, stage: Stage) -> None:
        """Writes the entry whole, then drops the snapshots that led to it."""
        if self._world.first:
            self._write(stage_id, stage)
        self._world.wait()

    def _write(self, stage_id: str, stage: Stage) -> None:
        path = self.path(stage_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        logs = [dataclasses.asdict(log) for log in stage.training]
        kept = {"training": logs, "seconds": stage.seconds, "trainings": stage.trainings}
        kept["steps"] = [dataclasses.asdict(step) for step in stage.steps]
        artifact.save(stage.model, path, kept)
        for snapshot in self._snapshots(stage_id):
            snapshot.unlink(missing_ok=True)

    def snapshot(self, stage_id: str, index: int) -> Path:
        """Where the `index`-th training of a stage under way keeps its last epoch."""
        folder = self.folder / _SNAPSHOTS
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{stage_id}.{index}.pt"

    def _snapshots(self, stage_id: str) -> list[Path]:
        return sorted((self.folder / _SNAPSHOTS).glob(f"{stage_id}.*.pt"))
