"""The section of a report on its sweeps: figures, tables and what they say. Empty where a run has none."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import RunRecord
from reports.basis_findings import BASIS_RULE, basis_sentences, basis_table
from reports.sweep_figures import has_gain, has_sweep
from reports.sweep_findings import BYTES_RULE, bytes_sentences, bytes_table, reach_sentences
from reports.sweep_table import reach_table, sweep_tables
from reports.sweeps import sweeps

_REACH_RULE = (
    "The largest compression ratio among the measured rows whose mean accuracy is at most so far below the dense "
    "network of the same seed; nothing is interpolated."
)


def sweep_section(records: Sequence[RunRecord]) -> str:
    """The section as Markdown; its figures are expected in `figures/`."""
    if not has_sweep(records):
        return ""
    panels = sweeps(records)
    parts = ["## Sweeps\n", "![Accuracy against file size, a curve a method](figures/sweep_accuracy.png)\n"]
    parts.append(sweep_tables(panels))
    if found := basis_sentences(panels):
        parts += ["### Does the basis matter?\n", _bullets(found)]
        if has_gain(records):
            parts.append("![Accuracy above random_basis at the same setting](figures/sweep_gain.png)\n")
        parts += [basis_table(panels), f"{BASIS_RULE}\n"]
    if found := bytes_sentences(panels):
        parts += ["### At equal bytes\n", _bullets(found), bytes_table(panels), f"{BYTES_RULE}\n"]
    parts += ["### How far each method goes\n", _bullets(reach_sentences(panels)), reach_table(panels), _REACH_RULE]
    return "\n".join(parts) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
