"""The `--config` file: options by name, and methods written as text, lists or mappings. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from baselines.errors import UsageError, nearest
from bench.written_methods import methods_text


def read_config(path: Path, options: Sequence[str]) -> dict[str, Any]:
    """What the file sets, as the command line would write it.

    options: names that there are, with underscores.

    Raises:
        UsageError: the file cannot be read, or names what there is not.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UsageError(f"--config {path} cannot be read: {reason}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"--config {path} must hold `option: value` lines, got a {type(data).__name__}")
    values = {}
    for key, value in data.items():
        name = str(key).replace("-", "_")
        if name not in options:
            names = [option.replace("_", "-") for option in options]
            raise UsageError(f"--config {path} has an unknown option {key!r}: {nearest(str(key), names)}")
        if name == "methods" and value is not None:
            values[name] = _methods(value, path)
        elif value is not None:
            values[name] = ",".join(str(item) for item in value) if isinstance(value, list) else value
    return values


def _methods(written: Any, path: Path) -> str:
    try:
        return methods_text(written)
    except UsageError as error:
        raise UsageError(f"--config {path}: {error}") from error
