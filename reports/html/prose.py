"""Sections that are written as Markdown for report.md, as HTML: any markup in them is shown as text."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt

_READER = MarkdownIt("commonmark", {"html": False}).enable("table")
_HEADING = re.compile(r"<(/?)h([1-5])>")


def to_html(text: str) -> str:
    """Markdown as HTML, headings one level lower, tables in boxes of their own that scroll."""
    made: str = _READER.render(text)
    made = _HEADING.sub(lambda found: f"<{found[1]}h{int(found[2]) + 1}>", made)
    made = made.replace("<table>", '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>')
    return made.replace("</table>", "</table></div>")
