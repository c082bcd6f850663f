"""The section of a report that holds it against the ShrinkBench checklist."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import RunRecord
from reports.cells import markdown, pipe_table
from reports.checklist import checklist, score

_SOURCE = (
    "The checklist of Blalock et al. 2020 (arXiv 2003.03033, section 6 and appendix B), each demand judged from this "
    "run's records alone; where the paper names no number, the one in the demand is ours. What records cannot tell is "
    "left to the reader: whether claims keep to what was run, and whether recent and early methods are among the rows."
)


def checklist_section(records: Sequence[RunRecord]) -> str:
    """The section as Markdown: how many demands are met, and each with its evidence."""
    items = checklist(records)
    passed, of = score(items)
    words = {True: "passed", False: "**not passed**", None: "does not apply"}
    lines = [[markdown(one.demand), words[one.passed], markdown(one.evidence)] for one in items]
    table = pipe_table(["demand", "verdict", "evidence"], lines, texts=3)
    return f"## Self-check\n\nThis report passes {passed} of {of}.\n\n{table}\n{_SOURCE}\n"
