"""Records -> tables, figures, page: a pure function that can be redone at any time, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.records import RunRecord
from reports.chain_gains import chains_csv, gains
from reports.figures import draw_figures
from reports.html import html_page
from reports.ledger import ledger_frame
from reports.loading import load_run
from reports.marks import line_marks, marked
from reports.matched import matched_section
from reports.page import page
from reports.reasons_page import with_reasons
from reports.roles import asked
from reports.rows import frame, several_seeds, summary
from reports.search_page import search_csv, search_section
from reports.steps_page import steps_csv
from reports.style import write_whole
from reports.table import csv_text, latex_summary, latex_table, markdown_summary, markdown_table, terminal_table
from reports.together import join

__all__ = ["draw", "join", "load_run", "terminal_table"]


def draw(records: Sequence[RunRecord], folder: Path, *, title: str, command: str) -> list[Path]:
    """Writes table.csv, .md and .tex, ledger.csv, figures/*.png and *.svg, report.html, report.md; of several seeds
    table_seeds.*, of methods that go on in steps steps.csv, of chains whose parts were measured too chains.csv.

    The same records, title and command give the same bytes. Each file is written whole or not at all, report.md last.

    Returns: the paths written, report.md last.
    """
    table = frame(records, line_marks(marked(asked(records))))
    texts = {"table.csv": csv_text(with_reasons(table, records))}
    texts["ledger.csv"] = csv_text(ledger_frame(records))
    texts |= {"table.md": markdown_table(table), "table.tex": latex_table(table)}
    if any(one.steps for one in records):
        texts["steps.csv"] = steps_csv(records)
    if gains(records):
        texts["chains.csv"] = chains_csv(records)
    if trials := search_csv(folder):
        texts["search.csv"] = trials
    if several_seeds(table):
        seeds = summary(table)
        texts["table_seeds.csv"] = csv_text(seeds)
        texts |= {"table_seeds.md": markdown_summary(seeds), "table_seeds.tex": latex_summary(seeds)}
    paths = [write_whole(folder / name, text.encode("utf-8")) for name, text in texts.items()]
    paths += draw_figures(records, folder / "figures")
    choice = matched_section(records, folder) + search_section(records, folder)
    interactive = html_page(records, title=title, command=command, choice=choice)
    paths.append(write_whole(folder / "report.html", interactive.encode("utf-8")))
    text = page(records, title=title, command=command, choice=choice)
    return [*paths, write_whole(folder / "report.md", text.encode("utf-8"))]
