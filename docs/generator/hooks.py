"""Events of MkDocs: the site is built of the repository's own files, at the places that they have there.

So links that work in the repository work in the site. Two kinds are led on: a link to a folder opens the page of its
contents, a link to a source file a page that shows it; other linked files (figures, tables) are copied.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from docs.generator.built import faults  # noqa: E402
from docs.generator.contents import made, sections, source_page, written  # noqa: E402
from docs.generator.links import broken, links  # noqa: E402
from docs.generator.lists import commonmark  # noqa: E402

_ASSETS = ("docs/generator/iframe-worker.js", "docs/generator/wide.css")
_INCLUDED = InclusionLevel.INCLUDED  # dot files too
_COPIED = {".png", ".svg", ".csv", ".tex"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The menu; links of all written pages are checked before anything is built."""
    if wrong := broken(ROOT, [Path(name) for name in written(ROOT)]):
        raise PluginError("links that lead nowhere:\n" + "\n".join(wrong))
    config.nav = [{section.title: [{title: page} for title, page in section.pages]} for section in sections(ROOT)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """In place of the folder's files: written pages, made ones, and what they link to."""
    ours = Path(config.docs_dir)
    chosen = Files([file for file in files if not file.src_dir or Path(file.src_dir) != ours])  # the theme's
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in written(ROOT)} | made(ROOT)
    copied, sources = set(_ASSETS), set()
    for name, text in list(texts.items()):
        for target in _targets(name, text):
            if target in texts or (ROOT / target).is_dir():
                continue
            if Path(target).suffix in _COPIED:
                copied.add(target)
            elif target.endswith(".md"):  # tables too long for their report
                texts[target] = (ROOT / target).read_text(encoding="utf-8")
            else:
                sources.add(target)
    for target in sorted(copied):
        place = f"assets/{Path(target).name}" if target in _ASSETS else _place(target)
        chosen.append(File(target, str(ROOT), config.site_dir, False, dest_uri=place, inclusion=_INCLUDED))
    texts |= {f"{target}.md": source_page(ROOT, target) for target in sorted(sources)}
    for name, text in texts.items():
        file = File.generated(config, name, content=commonmark(text), inclusion=_INCLUDED)
        shows_source = name.removesuffix(".md") in sources
        file.dest_uri = f"source/{file.dest_uri}".replace("/.", "/") if shows_source else _place(file.dest_uri)
        chosen.append(file)
    return chosen


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links to folders and source files on to their pages."""
    name = page.file.src_uri
    if name.endswith(("/report.md", "/table.md")):  # long tables of numbers would be most of what is searched
        page.meta.setdefault("search", {"exclude": True})
    for target in _targets(name, markdown):
        there = _page_of(target, files)
        if there and there != target:
            shown = os.path.relpath(target, Path(name).parent).replace(os.sep, "/")
            new = os.path.relpath(there, Path(name).parent).replace(os.sep, "/")
            markdown = re.sub(rf"\]\({re.escape(shown)}/?(?=[)#])", f"]({new}", markdown)
    return markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Looks through the pages as they came out: MkDocs passes over links to what it leaves out."""
    if wrong := faults(Path(config.site_dir).resolve()):
        raise PluginError("faults of the built site:\n" + "\n".join(wrong))


def _targets(name: str, text: str) -> Iterable[str]:
    """What a page links to, as paths of the repository."""
    paths = {link.path for link in links(text) if link.path}
    return sorted(os.path.normpath(Path(name).parent / path).replace(os.sep, "/") for path in paths)


def _page_of(target: str, files: Files) -> str:
    """The page that shows the file or folder `target`, if it is not one itself."""
    pages: tuple[Any, ...] = (f"{target}/README.md", f"{target}.md")
    return next((page for page in pages if files.get_file_from_path(page)), "")


def _place(path: str) -> str:
    """Where a file of the repository is in the site: docs/ is its root."""
    return path.removeprefix("docs/")
