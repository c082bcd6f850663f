"""An artifact in a few lines of text."""

from __future__ import annotations

from pathlib import Path

from bench.artifact.reading import Artifact, load


def describe(path: Path) -> str:
    """What a file holds: its metadata, its totals, and a line for each stored tensor.

    Raises:
        ArtifactError: the file cannot be read.
    """
    artifact = load(path)
    metadata = [f"{name}: {value}" for name, value in sorted(artifact.metadata.items())]
    return "\n".join([str(path), *metadata, _totals(artifact), "", *_lines(artifact)])


def _totals(artifact: Artifact) -> str:
    parameters = sum(line.parameters for line in artifact.ledger)
    nonzeros = sum(line.nonzeros for line in artifact.ledger)
    information = sum(line.information_bits for line in artifact.ledger) / 8
    return (
        f"{artifact.file_bytes:,} bytes, {parameters:,} parameters, {nonzeros:,} nonzero, "
        f"{information:,.0f} bytes of information, sha256 {artifact.sha256}"
    )


def _lines(artifact: Artifact) -> list[str]:
    rows = [
        (f"{line.layer}.{line.tensor}", "x".join(map(str, line.shape)) or "-", line.codec, f"{line.bytes:,}")
        for line in artifact.ledger
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)), row[3].rjust(widths[3])))
        for row in rows
    ]
