"""What the pages of studies have in common: where, when and by which command their numbers were taken."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from bench.environment import environment

_PACKAGES = ("torch", "onnxruntime", "openvino")


def made_by(module: str) -> str:
    """The command that is running, as code: `python -m bench.int8_speed a.nnc b.nnc`."""
    return f"`python -m {module} {shlex.join(sys.argv[1:])}`".replace(" `", "`")


def made_at(packages: Sequence[str] = _PACKAGES) -> str:
    """Date, commit, versions of those `packages` that are installed, machine and its load, in a sentence."""
    place = environment()
    changed = " with uncommitted changes" if place.get("commit_dirty") else ""
    versions = ", ".join(f"{name} {place['packages'][name]}" for name in packages if name in place["packages"])
    return (
        f"Generated {place['date']} at commit {place.get('commit', 'unknown')}{changed}, {versions}, "
        f"on {place['cpu']['model']} ({', '.join(place['cpu']['flags'])}; {place['cpu']['usable_cores']} usable cores, "
        f"load {os.getloadavg()[0]:.1f})."
    )
