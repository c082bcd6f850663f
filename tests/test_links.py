"""Pages: their links lead somewhere, the menu of the site has them all, and lists are read as they were meant."""

import ast
import re
from pathlib import Path

import pytest

from docs.generator.built import faults
from docs.generator.contents import PACKAGES, api_page, made, sections, written
from docs.generator.links import anchors, broken, links, slug
from docs.generator.lists import commonmark, listed
from methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    {Path(name) for name in written(ROOT)}
    | {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md") if "records" not in path.parts}
)
OURS = r"(?:methods|baselines|bench|reports|cuda_kernels|tests|docs)"
NAMED = re.compile(rf"`({OURS}/[\w./-]+\.(?:py|cu|cuh|md|yaml))`")
MADE = made(ROOT)
TO_BE_MADE = {"methods/rounding.py", "methods/threshold.py"}  # by the reader


def test_links_and_anchors_of_all_pages_lead_somewhere():
    assert broken(ROOT, PAGES) == []


def test_there_are_links_to_check():
    found = [link for page in PAGES for link in links((ROOT / page).read_text(encoding="utf-8"))]
    assert len(found) > 200
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/tutorial.md"} <= {str(page) for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_a_page_names_are_there(page):
    named = set(NAMED.findall((ROOT / page).read_text(encoding="utf-8"))) - TO_BE_MADE
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a](gone.md)", "there is no such file"),
        ("![a](figures/gone.png)", "there is no such file"),
        ("[a](../methods/gone.py)", "there is no such file"),
        ("[a](other.md#gone)", "has no such heading"),
        ("[a](#gone)", "has no such heading"),
        ("[a](code.py#L7)", "only pages have anchors"),
        ("[a](/docs/other.md)", "a path from the root"),
        ("[a](../../outside.md)", "it leads out of the repository"),
        ("| a | [b](gone.csv) |", "there is no such file"),
        ("- item\n    [a](gone.md)", "there is no such file"),  # no code: no blank line before it
        ("[a][there]\n\n[there]: gone.md", "there is no such file"),
        ("`a` [b](gone.md) `c`", "there is no such file"),
        ("```\ncode\n```\n[a](gone.md)", "there is no such file"),
    ],
)
def test_a_broken_link_is_seen(tmp_path, text, why):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/code.py").touch()
    (tmp_path / "docs/other.md").write_text("# Other\n\n```\n# gone\n```\n")
    (tmp_path / "docs/page.md").write_text(text)
    (said,) = broken(tmp_path, [Path("docs/page.md")])
    assert why in said
    assert said.startswith("docs/page.md:")


@pytest.mark.parametrize(
    "text",
    [
        "[a](other.md)",
        "[a](other.md#what-holds)",
        "[a](#here)\n\n## Here",
        "[a](../docs)",
        "![a](a%20b.png)",
        "[a](https://example.org/gone.md#x)",
        "`[a](gone.md)`",
        "``a ` [b](gone.md)``",
        "```\n[a](gone.md)\n```",
        "~~~\n```\n[a](gone.md)\n~~~",
        "text\n\n    [a](gone.md)\n    [b](gone.md)",
    ],
)
def test_what_is_no_broken_link_is_left_alone(tmp_path, text):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a b.png").touch()
    (tmp_path / "docs/other.md").write_text("# Other\n## What *holds*?\n")
    (tmp_path / "docs/page.md").write_text(text)
    assert broken(tmp_path, [Path("docs/page.md")]) == []


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("What holds for quantisation", "what-holds-for-quantisation"),
        ("`ptq`: static int8 after training", "ptq-static-int8-after-training"),
        ("0012: pruning is four choices", "0012-pruning-is-four-choices"),
        ("A **bold** [link](to.md) & more", "a-bold-link--more"),
        ("keep_fraction", "keep_fraction"),
    ],
)
def test_an_anchor_is_made_as_readers_make_it(heading, expected):
    assert slug(heading) == expected
    assert expected in anchors(f"# Title\n\n## {heading} ##\n")


def test_the_site_makes_the_same_anchors():
    """Of every heading there is, as the site's own function makes them."""
    slugs = pytest.importorskip("pymdownx.slugs", reason="pip install -r requirements-docs.txt")
    markdown = pytest.importorskip("markdown")
    by_site = slugs.slugify(case="lower")
    for page in PAGES:
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        for heading in {line.lstrip("# ") for line in lines if re.match(r"#{1,4} ", line)}:
            shown = re.sub(r"<[^>]+>", "", markdown.markdown(f"# {heading}"))
            assert slug(heading) == by_site(shown, "-"), heading


def test_every_page_is_in_the_menu_once():
    shown = [page for section in sections(ROOT) for _, page in section.pages]
    assert sorted(shown) == sorted({*written(ROOT), *MADE})
    for section in sections(ROOT):
        titles = [title for title, _ in section.pages]
        assert len(set(titles)) == len(titles)


def test_every_method_has_a_card_and_every_study_is_in_the_list_of_studies():
    assert {path.stem for path in (ROOT / "docs/methods").glob("*.md")} == set(METHODS)
    folder = ROOT / "docs/studies"
    text = (folder / "README.md").read_text(encoding="utf-8")
    listed_there = {link.path for link in links(text)}
    there = {path.relative_to(folder).as_posix() for path in (*folder.glob("*.md"), *folder.glob("*/report.md"))}
    assert there - {"README.md"} <= listed_there
    for study in (path.parent for path in folder.glob("*/plan.json")):
        assert (study / "report.md").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_on_a_page_of_the_api(package):
    for path in (ROOT / package).rglob("*.py"):
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            continue
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        page = MADE[api_page(name if parts[-1] == "__init__" else name.rpartition(".")[0])]
        assert f"::: {name}\n" in page


def test_lists_are_set_off_and_nested_by_four():
    text = "What:\n- a\n  goes on\n  - b\n- c\n\nText\n```\nx\n- y\n```\n1. d\n"
    expected = "What:\n\n- a\n  goes on\n    - b\n- c\n\nText\n```\nx\n- y\n```\n\n1. d\n"
    assert commonmark(text) == expected
    assert commonmark(expected.replace("    - b", "  - b")) == expected


def test_lines_that_explain_names_become_a_list():
    text = "Does it.\n\nx, y: where,\n    in metres.\nother: not known.\n\nRaises:\n    ValueError: it cannot."
    expected = "Does it.\n\n- `x`, `y`: where,\n  in metres.\nother: not known.\n\nRaises:\n    ValueError: it cannot."
    assert listed(text, {"x", "y"}) == expected
    assert listed("Card.\n\nIdea   one\n       two\nCost   three", set()) == (
        "Card.\n\n- **Idea**: one\n  two\n- **Cost**: three"
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('<a class="x" href="gone.html">a</a>', "there is no such file"),
        ('<a href="sub/gone.html?q=1#x">a</a>', "there is no such file"),
        ("<img src=gone.png>", "there is no such file"),
        ('<a href="sub/index.html#gone">a</a>', "there is no such place"),
        ('<a href="#gone">a</a>', "there is no such place"),
        ('<script src="https://example.org/x.js"></script>', "fetched from elsewhere"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "fetched from elsewhere"),
        ('<a href="https://example.org">a</a> <a href="sub/#a-%C3%BC">b</a> <a id="c" href="#c">c</a>', ""),
        ('<a href="sub?x=1">a</a> <a href="a%20b.txt#L1">b</a> text href="gone"', ""),
    ],
)
def test_faults_of_a_built_page_are_seen(tmp_path, body, why):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a b.txt").touch()
    (tmp_path / "sub/index.html").write_text('<h2 id="a-ü">A</h2>')
    (tmp_path / "page.html").write_text(f"<p>{body}</p>")
    found = faults(tmp_path)
    assert len(found) == bool(why)
    assert not why or why in found[0]


def test_tools_that_both_lists_of_requirements_pin_are_the_same():
    def pins(name):
        return dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / name).read_text(), flags=re.MULTILINE))

    docs, dev = pins("requirements-docs.txt"), pins("requirements-dev.txt")
    assert {name: docs[name] for name in docs.keys() & dev.keys()} == {"ruff": dev["ruff"]}
