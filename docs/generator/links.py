"""Links of Markdown pages: which there are, and which lead nowhere. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_TARGET = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")  # of [text](target "title"), images too
_REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?([^\s>]+)>?")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.+?)\s*#*$")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # https:, mailto:, ...


@dataclass(frozen=True)
class Link:
    """Where a page points: `path` relative to the page (empty for the page itself), `anchor` without its #."""

    line: int
    path: str
    anchor: str


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a page that are no code, with their numbers from 1; spans of code are blanked out."""
    fence, blank = "", True
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) and not line.strip(" `~") else fence
            continue
        if mark:
            fence, blank = mark[1], True
            continue
        if line.startswith("    ") and blank:  # indented code, which a blank line opens and other text ends
            continue
        blank = not line.strip()
        yield number, _SPAN.sub(lambda span: " " * len(span[0]), line)


def links(text: str) -> list[Link]:
    """The links and images of a page that stay within the repository."""
    found = []
    for number, line in prose(text):
        for target in (*_TARGET.findall(line), *_REFERENCE.findall(line)):
            if not _ELSEWHERE.match(target):
                path, _, anchor = target.partition("#")
                found.append(Link(number, unquote(path), unquote(anchor)))
    return found


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and the site make it: `## What *holds*` is #what-holds."""
    words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # of a link, its text
    words = unicodedata.normalize("NFC", words.replace("`", "").replace("*", "")).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings."""
    plain = {number for number, _ in prose(text)}
    lines = enumerate(text.splitlines(), start=1)
    return {slug(mark[1]) for number, line in lines if number in plain and (mark := _HEADING.match(line))}


def broken(root: Path, pages: Sequence[Path]) -> list[str]:
    """A line for each link of `pages` (paths under `root`) that leads nowhere, saying where it stands and why."""
    said = []
    texts = {page: (root / page).read_text(encoding="utf-8") for page in pages}
    for page, text in texts.items():
        for link in links(text):
            if why := _why_broken(root, page, link):
                target = f"{link.path}#{link.anchor}" if link.anchor else link.path
                said.append(f"{page}:{link.line}: ]({target}): {why}")
    return said


def _why_broken(root: Path, page: Path, link: Link) -> str:
    if link.path.startswith("/"):
        return "a path from the root works in no other place: write it relative to the page"
    target = (root / page.parent / link.path).resolve() if link.path else root / page
    if not target.is_relative_to(root.resolve()):
        return "it leads out of the repository"
    if not target.exists():
        return "there is no such file"
    if not link.anchor:
        return ""
    if target.suffix != ".md":
        return "only pages have anchors; lines move: name the function instead"
    known = anchors(target.read_text(encoding="utf-8"))
    return "" if link.anchor in known else f"{target.relative_to(root.resolve())} has no such heading"
