"""The artifact: a network as one file that describes itself. A row of a table is such a file.

    save(ship(model), path, metadata)      one file, written whole or not at all
    load(path).model                       the same outputs, in any process, from the file and this code alone

Reading a file never runs code of its own and either gives exactly what was written or an `ArtifactError`.
"""

from __future__ import annotations

from bench.artifact.container import ArtifactError, is_of_another_version
from bench.artifact.description import describe
from bench.artifact.reading import Artifact, load, read_metadata
from bench.artifact.shipping import ship
from bench.artifact.writing import save

__all__ = ["Artifact", "ArtifactError", "describe", "is_of_another_version", "load", "read_metadata", "save", "ship"]
