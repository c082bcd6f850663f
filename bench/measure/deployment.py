"""What runtimes deploy (an exported graph), kept from row to row: the dense file's is made once for a whole run."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path

from bench.artifact import Artifact
from bench.records import write_json
from bench.runtimes import Runtime


def prepared(runtime: Runtime, artifact: Artifact, work: Path) -> Path | None:
    """The file that `runtime` deploys for `artifact`, or None where it runs from the artifact.

    Made once for each content, runtime and set of versions, below the folder `work`.
    """
    folder = work / artifact.sha256 / runtime.name
    marker = folder / "prepared.json"  # written last: what a kill interrupted has none
    versions = _versions()
    if marker.is_file():
        held = json.loads(marker.read_text(encoding="utf-8"))
        if held["versions"] == versions and (held["file"] is None or (folder / held["file"]).is_file()):
            return None if held["file"] is None else folder / held["file"]
    folder.mkdir(parents=True, exist_ok=True)
    file = runtime.prepare(artifact.model, tuple(artifact.metadata["input_shape"]), folder)
    write_json({"versions": versions, "file": None if file is None else str(file.relative_to(folder))}, marker)
    return file


def _versions() -> dict[str, str]:
    """Versions of what exports and runs networks, where installed, and a digest of our own code that does."""
    found = {"runtimes": _code()}
    for name in ("torch", "onnx", "onnxscript", "onnxruntime", "openvino"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for file in sorted((Path(__file__).parents[1] / "runtimes").glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
