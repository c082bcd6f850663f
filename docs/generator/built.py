"""Faults of the built site: links that lead nowhere, files fetched from elsewhere. Standard library only."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import unquote

_TARGET = re.compile(r"""<[a-z][^<>]*?\s(?:href|src)="?([^"\s>]+)""")
_PLACE = re.compile(r"""\s(?:id|name)="?([^"\s>]+)""")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_FETCHED = re.compile(r"""<(?:link\b[^<>]*\bhref|(?:script|img|iframe|source)\b[^<>]*\bsrc)="?(?:https?:)?//[^<>]*>""")
_SERVED = {"404.html"}  # a server shows it at any path, so its links are from the root


def faults(site: Path) -> list[str]:
    """A line for each fault of the pages under `site`: the page, the link, and what is wrong."""
    texts = {page: page.read_text(encoding="utf-8") for page in sorted(site.rglob("*.html"))}
    places = {page: set(map(html.unescape, _PLACE.findall(text))) for page, text in texts.items()}
    said = []
    for page, text in texts.items():
        name = page.relative_to(site)
        said += [f"{name}: fetched from elsewhere: {tag[0]}" for tag in _FETCHED.finditer(text)]
        for target in sorted(set(_TARGET.findall(text))) if page.name not in _SERVED else ():
            if why := _why_dead(page, html.unescape(target), places):
                said.append(f"{name}: {target}: {why}")
    return said


def _why_dead(page: Path, target: str, places: dict[Path, set[str]]) -> str:
    if _ELSEWHERE.match(target):
        return ""
    path, _, anchor = target.partition("#")
    file = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
    if file.is_dir():
        file /= "index.html"
    if not file.is_file():
        return "there is no such file"
    if anchor and file in places and unquote(anchor) not in places[file]:
        return "there is no such place on that page"
    return ""
