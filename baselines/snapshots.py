"""What a training keeps after each epoch, and how it goes on from there."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.errors import first_line
from baselines.parts import part_of


@dataclass(frozen=True)
class Epoch:
    """What one epoch did; accuracies in [0, 1], `lr` the rate of its last step."""

    stage: str
    epoch: int  # from 1
    epochs: int
    lr: float
    train_loss: float  # mean cross entropy
    train_accuracy: float
    validation_accuracy: float
    seconds: float
    samples: int


@dataclass(frozen=True)
class Running:
    """A training under way: all that its further course depends on beside the data.

    run: what tells this training from another, in plain types. beside: what is trained along with the model.
    """

    run: dict[str, Any]
    model: nn.Module
    beside: nn.Module
    optimizer: torch.optim.Optimizer


def save(path: Path, running: Running, logs: list[Epoch]) -> None:
    """Writes the snapshot whole or not at all. Not forced to the disk: one that a power cut damages is passed over."""
    held = {
        "run": running.run,
        "model": running.model.state_dict(),
        "beside": running.beside.state_dict(),
        "optimizer": running.optimizer.state_dict(),
        "logs": [asdict(log) for log in logs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        with part.open("wb") as file:
            torch.save(held, file)
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # torch closes its archive, and fails at that
            raise KeyboardInterrupt from error
        raise
    os.replace(part, path)


def resume(path: Path | None, running: Running, device: str, on_note: Callable[[str], None]) -> list[Epoch]:
    """Brings the training to the snapshot's state; the epochs it has seen, none if it cannot be used."""
    if path is None or not path.is_file():
        return []
    try:
        held = torch.load(path, map_location=device, weights_only=True)
        if held["run"] != running.run:
            on_note(f"{path} is the snapshot of another training: starting over")
            return []
        for own, kept in ((running.model, held["model"]), (running.beside, held["beside"])):
            _check_fits(own.state_dict(), kept)
        logs = [Epoch(**{field.name: log[field.name] for field in fields(Epoch)}) for log in held["logs"]]
        running.optimizer.load_state_dict(held["optimizer"])
        running.model.load_state_dict(held["model"])
        running.beside.load_state_dict(held["beside"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError, ValueError) as error:
        on_note(f"{path} is damaged ({first_line(error)}): starting over")
        running.optimizer.state.clear()
        return []
    return logs


def _check_fits(own: dict[str, Tensor], held: dict[str, Tensor]) -> None:
    """Everything that loading would refuse half-way is refused before the first tensor is written."""
    if own.keys() != held.keys() or any(own[name].shape != held[name].shape for name in own):
        raise ValueError("its tensors are not this network's")
