"""report.html: the run as one interactive page that needs no network. A pure function of records."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from bench.records import RunRecord
from reports.html import view
from reports.html.data import STEPS, Page, data_of, json_text, page_of
from reports.html.library import chart_library, packed
from reports.html.prose import to_html
from reports.takeaways import takeaways_section

MOST_BYTES = 5_000_000
SCRIPTS = (
    "text.js", "state.js", "filter.js", "table.js", "axes.js", "legend.js", "charts.js", "ledger.js", "detail.js",
    "compare.js", "start.js",
)  # fmt: skip
STYLES = ("page.css", "parts.css", "print.css")
_HERE = Path(__file__).parent


def html_page(records: Sequence[RunRecord], *, title: str, command: str, choice: str = "") -> str:
    """The page, below MOST_BYTES: of runs with very many layers the ledgers are shortened until it is.

    choice: section on how the chains were chosen, as Markdown.
    """
    page = page_of(records, command)
    rest = _around(page, records, title=title, command=command, choice=choice)
    for layers in STEPS:
        data = packed(json_text(data_of(page, records, layers)).encode("ascii"))
        text = rest[0] + data + rest[1]
        if len(text.encode("utf-8")) < MOST_BYTES:
            break
    return text


def _around(page: Page, records: Sequence[RunRecord], *, title: str, command: str, choice: str) -> tuple[str, str]:
    """What comes before the data, and what comes after."""
    style = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in STYLES)
    script = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    findings = "".join(
        f'<details class="prose" open><summary>{head}</summary>{to_html(section)}</details>'
        for head, section in (("How the chains were chosen", choice), ("Takeaways", takeaways_section(records)))
        if section
    )
    before = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head><body>"
        '<a class="skip" href="#rows">Skip to the rows</a><main>'
        f"{view.head(page, records, title, command)}{view.filters(page)}"
        '<section id="charts" class="script" aria-label="Charts"></section>'
        '<section id="rows" aria-labelledby="rows-head"><div class="bar"><h2 id="rows-head">Rows</h2>'
        '<button type="button" id="all" class="quiet script" aria-pressed="false">All columns</button></div>'
        f"{view.table(page, records)}</section>{findings}{view.about(page, records)}</main>"
        '<aside id="panel" tabindex="-1" aria-labelledby="panel-head" hidden></aside>'
        '<div id="tray" role="region" aria-label="Rows to compare" hidden></div>'
        '<noscript><p class="noscript">Charts and details need scripts; the table above is whole.</p></noscript>'
        '<script type="text/plain" id="data">'
    )
    after = (
        f'</script><script type="text/plain" id="library">{chart_library()}</script>'
        f"<script>(() => {{\n'use strict';\n{script}\n}})();</script></body></html>\n"
    )
    return before, after
