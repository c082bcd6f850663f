"""A trained checkpoint of a person's own: a state dict in .pt, .pth or .safetensors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from baselines.errors import UsageError, first_line

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # where training scripts put the state dict
_SHOWN = 3  # names listed in an error before "and N more"


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads the state dict in `path` into `model`, every tensor of it.

    Raises:
        UsageError: no such file, not a state dict, or tensors that do not fit, by name and shape.
    """
    if not path.is_file():
        raise UsageError(f"there is no weights file {path}: give the path of a state dict (.pt, .pth, .safetensors)")
    state = _state_dict(path)
    own = model.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    differing = [f"{name} is {list(state[name].shape)}, the network has {list(own[name].shape)}"
                 for name in own if name in state and state[name].shape != own[name].shape]  # fmt: skip
    faults = [f"{what}: {_listed(names)}" for what, names in
              (("missing", missing), ("unexpected", unexpected), ("other shapes", differing)) if names]  # fmt: skip
    if faults:
        raise UsageError(f"{path} does not fit this network: {'; '.join(faults)}; pass the --net, classes and image "
                         f"size it was trained with")  # fmt: skip
    model.load_state_dict(state, strict=False)


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            data: Any = load_file(path)
        else:
            data = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        told = not isinstance(error, pickle.UnpicklingError)  # torch's message is advice to load without safety
        why = f" ({first_line(error)})" if told else ""
        raise UsageError(f"{path} is not a readable state dict{why}: write it with "
                         f"torch.save(model.state_dict(), FILE)") from error  # fmt: skip
    for wrapper in _WRAPPERS:
        if isinstance(data, dict) and isinstance(data.get(wrapper), dict):
            data = data[wrapper]
    if not isinstance(data, dict) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise UsageError(f"{path} holds a {type(data).__name__}, not a state dict: write it with "
                         f"torch.save(model.state_dict(), FILE)")  # fmt: skip
    if all(name.startswith("module.") for name in data):  # saved from a DataParallel wrapper
        data = {name.removeprefix("module."): value for name, value in data.items()}
    return data
