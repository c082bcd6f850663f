"""The section of a report on its sweeps: figures, tables and what they say. Empty where a run has none."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import RunRecord
from reports.basis_findings import BASIS_RULE, basis_sentences, basis_table
from reports.sweep_figures import has_gain, has_sweep
from reports.sweep_findings import BYTES_RULE, bytes_sentences, bytes_table, reach_sentences
from reports.sweep_table import reach_table, sweep_tables
from reports.sweeps import Panel, sweeps

_REACH_RULE = (
    "The largest compression ratio among the measured rows whose mean accuracy is at most so far below the dense "
    "network of the same seed; nothing is interpolated."
)


def sweep_section(records: Sequence[RunRecord]) -> str:
    """The section as Markdown; its figures are expected in `figures/`. Where nothing is swept, but a basis stands
    beside the random one, what that says."""
    panels = sweeps(records)
    if not has_sweep(records):
        return _on_bases("##", records, panels)
    parts = ["## Sweeps\n", "![Accuracy against file size, a curve a method](figures/sweep_accuracy.png)\n"]
    parts += [sweep_tables(panels), _on_bases("###", records, panels)]
    if found := bytes_sentences(panels):
        parts += ["### At equal bytes\n", _bullets(found), bytes_table(panels), f"{BYTES_RULE}\n"]
    parts += ["### How far each method goes\n", _bullets(reach_sentences(panels)), reach_table(panels), _REACH_RULE]
    return "\n".join(part for part in parts if part) + "\n"


def _on_bases(head: str, records: Sequence[RunRecord], panels: Sequence[Panel]) -> str:
    """Whether the basis matters, from the sweeps, or where these hold no random basis from single rows."""
    if not basis_sentences(panels):
        panels = sweeps(records, only="keep")
    if not (found := basis_sentences(panels)):
        return ""
    parts = [f"{head} Does the basis matter?\n", _bullets(found)]
    if has_gain(records):
        parts.append("![Accuracy above random_basis at the same setting](figures/sweep_gain.png)\n")
    return "\n".join([*parts, basis_table(panels), f"{BASIS_RULE}\n"])


def _bullets(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
