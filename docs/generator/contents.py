"""What the site consists of: pages that are files of the repository, and pages that are made of them.

Paths are those of the repository, as text with slashes. Nothing is kept twice: a page that is made holds only links,
headings of other pages, and names of modules whose docstrings are put in when the site is built.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("methods", "baselines", "bench", "reports", "cuda_kernels")
_FRONT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/tutorial.md", "docs/scaling.md")
_FOLDERS = ("docs/methods", "docs/decisions", "docs/studies")
_LANGUAGES = {".py": "python", ".cu": "cuda", ".cuh": "cuda", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml",
              ".json": "json", "Makefile": "make", "run": "bash"}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A heading of the site's menu, with the (title, page) pairs below it; the first page is the section's own."""

    title: str
    pages: tuple[tuple[str, str], ...]


def written(root: Path) -> list[str]:
    """The pages that people or runs wrote: README and its like, cards, decisions, studies with their reports."""
    found = [name for name in _FRONT if (root / name).is_file()]
    for folder in _FOLDERS:
        found += [f"{folder}/{path.name}" for path in sorted((root / folder).glob("*.md"))]
    found += [path.relative_to(root).as_posix() for path in sorted((root / "cuda_kernels").rglob("README.md"))]
    reports = sorted((root / "docs/studies").glob("*/report.md"))
    return found + [str(path.relative_to(root).as_posix()) for path in reports]


def made(root: Path) -> dict[str, str]:
    """Path -> text of the pages that are made: contents of folders, and the API's by package."""
    pages = {
        "docs/methods/README.md": _contents(root, "docs/methods", "Methods", "A card for each method."),
        "docs/decisions/README.md": _contents(root, "docs/decisions", "Decisions", "Why things are as they are."),
        "docs/examples.md": _examples(root),
        "docs/api/README.md": _packages(root),
    }
    return pages | {api_page(package): _api(root, package) for package in _modules(root)}


def sections(root: Path) -> list[Section]:
    """The menu: every page that is written or made."""
    titles = {path: heading(root / path) for path in written(root)}

    def of(folder: str) -> list[tuple[str, str]]:
        inside = [path for path in titles if str(Path(path).parent) == folder and not path.endswith("README.md")]
        shared = {path for path in inside if [titles[one] for one in inside].count(titles[path]) > 1}
        return [(f"{titles[path]} ({Path(path).stem})" if path in shared else titles[path], path) for path in inside]

    reports = [(Path(path).parent.name, path) for path in titles if path.endswith("/report.md")]
    packages = [(package, api_page(package)) for package in _modules(root)]
    return [
        Section(
            "Start",
            (
                ("Which compression is worth it?", "README.md"),
                ("Tutorial", "docs/tutorial.md"),
                ("Past one machine", "docs/scaling.md"),
            ),
        ),
        Section("Methods", (("Methods", "docs/methods/README.md"), *of("docs/methods"))),
        Section("Studies", (("Studies", "docs/studies/README.md"), *of("docs/studies"), *reports)),
        Section("GPU kernels", tuple((titles[path], path) for path in titles if path.startswith("cuda_kernels/"))),
        Section("Decisions", (("Decisions", "docs/decisions/README.md"), *of("docs/decisions"))),
        Section("API", (("API", "docs/api/README.md"), *packages)),
        Section(
            "Project",
            (
                ("Contributing", "CONTRIBUTING.md"),
                ("Changelog", "CHANGELOG.md"),
                ("Examples", "docs/examples.md"),
            ),
        ),
    ]


def heading(page: Path) -> str:
    """The first heading of a page, without its marks of code."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return next((line[2:].replace("`", "").strip() for line in lines if line.startswith("# ")), page.stem)


def source_page(root: Path, path: str) -> str:
    """The text of the page that shows a source file of the repository."""
    name = Path(path)
    language = _LANGUAGES.get(name.suffix) or _LANGUAGES.get(name.name, "text")
    text = (root / path).read_text(encoding="utf-8")
    return f"# `{path}`\n\n````{language}\n{text.rstrip()}\n````\n"


def api_page(package: str) -> str:
    """Where the page of a package is."""
    return f"docs/api/{package}.md"


def _contents(root: Path, folder: str, title: str, about: str) -> str:
    paths = [path for path in sorted((root / folder).glob("*.md")) if path.name != "README.md"]
    lines = [f"- [{heading(path)}]({path.name})" for path in paths]
    return "\n".join([f"# {title}", "", about, "", *lines, ""])


def _examples(root: Path) -> str:
    paths = sorted((root / "docs/examples").glob("*.yaml"))
    parts = [f"## {path.name}\n\n```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```" for path in paths]
    return "\n\n".join(["# Examples of `--config`", *parts]) + "\n"


def _packages(root: Path) -> str:
    lines = []
    for package, names in _modules(root).items():
        lines.append(f"- [`{package}`]({package}.md): {_summary(root, package) or f'{len(names)} modules'}")
    about = "What each package defines, from its docstrings; names that begin with `_` are left out."
    return "\n".join(["# API", "", about, "", *lines, ""])


def _api(root: Path, package: str) -> str:
    names = _modules(root)[package]
    lines = [f"- [`{name}`][{name}]: {_summary(root, name)}" for name in names]
    blocks = [f"::: {name}\n    options:\n      members: [{', '.join(_defined(root, name))}]" for name in names]
    return "\n\n".join([f"# `{package}`", "\n".join(lines), *blocks]) + "\n"


@functools.cache
def _modules(root: Path) -> dict[str, list[str]]:
    """Name of each package and package within -> its modules that have a docstring, itself first."""
    found: dict[str, list[str]] = {}
    for top in PACKAGES:
        for path in sorted((root / top).rglob("*.py"), key=lambda one: (one.parent, one)):
            name = _name(path.relative_to(root))
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            if _summary(root, name):
                found.setdefault(package, []).append(name)
    return found


def _defined(root: Path, name: str) -> list[str]:
    """The public classes and functions that a module defines itself, and explains."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in _parsed(root, name).body if isinstance(node, kinds) and not node.name.startswith("_")]
    return [node.name for node in nodes if ast.get_docstring(node)]


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _summary(root: Path, name: str) -> str:
    """The first paragraph of a module's docstring."""
    text = ast.get_docstring(_parsed(root, name)) or ""
    return text.split("\n\n")[0].replace("\n", " ")


@functools.cache
def _parsed(root: Path, name: str) -> ast.Module:
    base = root / name.replace(".", "/")
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))
