"""report.html on a phone, in the dark, on paper, for those who want no motion; its numbers as Python writes them."""

import dataclasses
import random
from pathlib import Path

import pytest

import reports.html
from reports.cells import rounded
from reports.html import SCRIPTS
from reports.statistics import pareto_front
from tests.browser_example import Opened, browser, written
from tests.records_example import example, failed, record

FOLDER = Path(reports.html.__file__).parent
PHONE = {"viewport": {"width": 375, "height": 720}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def chrome():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    long = dataclasses.replace(record("dct", share=0.2), chain="x", label="dct:keep=0.25:" * 30, case_id="long")
    return written(tmp_path_factory.mktemp("page"), [*example(), long, failed("y", reason="r" * 400)])


@pytest.fixture(scope="module")
def shared(chrome, drawn):
    return Opened(chrome, drawn, color_scheme="light")


@pytest.fixture
def desk(shared):
    """A page on a desk, as it opens; reading the chart library anew for each test would take most of their time."""
    yield shared
    assert shared.troubles == []
    shared.page.keyboard.press("Escape")
    shared.page.emulate_media(media="screen", color_scheme="light", reduced_motion="no-preference")


def colour(page, selector="body"):
    return page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).backgroundColor")


def wide(page):
    """Pixels that the page is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_on_a_phone_nothing_but_the_table_scrolls_sideways(chrome, drawn):
    opened = Opened(chrome, drawn, **PHONE)
    page = opened.page
    assert wide(page) == 0
    assert page.evaluate("(b => b.scrollWidth > b.clientWidth)(document.getElementById('box'))")
    page.locator(".open").nth(4).tap()
    assert wide(page) == 0
    assert page.locator("#panel").bounding_box()["width"] == pytest.approx(375, abs=0.5)
    assert page.evaluate("(p => p.scrollWidth - p.clientWidth)(document.getElementById('panel'))") == 0
    page.locator("#pick-open").tap()
    page.locator("#close").tap()
    page.locator(".pick").first.tap()
    page.locator("#compare").tap()
    assert page.locator("#panel-head").inner_text() == "A against B"
    assert wide(page) == 0
    assert page.evaluate("(p => p.scrollWidth - p.clientWidth)(document.getElementById('panel'))") == 0
    opened.context.close()
    assert opened.troubles == []


def test_the_theme_follows_the_system_and_then_the_button(desk):
    page, ink = desk.page, "document.querySelector('#charts .plot')._fullLayout.font.color"
    bright, of_charts = colour(page), page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    dim = colour(page)
    assert dim != bright
    page.wait_for_function(f"{ink} !== '{of_charts}'")
    page.emulate_media(color_scheme="light")
    seen = []
    for _ in range(3):
        page.click("#theme")
        seen.append((page.locator("#theme").inner_text(), colour(page)))
    assert seen == [("Theme: light", bright), ("Theme: dark", dim), ("Theme: auto", bright)]


def luminance(text):
    channels = [int(part) / 255 for part in text[text.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(desk, scheme):
    page = desk.page
    page.emulate_media(color_scheme=scheme)
    ground = [colour(page, "figure"), colour(page)]
    for selector in ("body", ".facts", ".hint", ".note.bad", "#count", ".unit", "small", "summary", ".quiet"):
        ink = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
        for under in ground:
            light, dark = sorted((luminance(ink), luminance(under)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (selector, ink, under)


def test_on_paper_controls_are_gone_and_heads_and_rows_are_whole(desk):
    page = desk.page
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for selector in ("#filters", "#theme", "#all", ".pick", "figcaption"):
        assert not page.locator(selector).first.is_visible()
    assert page.locator("#box").evaluate("(b) => getComputedStyle(b).maxHeight") == "none"
    assert page.evaluate("document.querySelector('#charts .plot')._fullLayout.width") == 478
    assert luminance(colour(page)) == 1
    assert len(page.pdf()) > 20_000
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_function("document.querySelector('#charts .plot')._fullLayout.width > 500")


def test_who_wants_no_motion_gets_none(desk):
    moves = {}
    for choice in ("reduce", "no-preference"):
        desk.page.emulate_media(reduced_motion=choice)
        desk.page.locator(".open").first.click()
        moves[choice] = desk.page.evaluate("getComputedStyle(document.getElementById('panel')).animationName")
    assert moves == {"reduce": "none", "no-preference": "arrive"}


def test_every_control_has_a_name_and_the_table_its_heads(desk):
    page = desk.page
    page.locator(".open").first.click()
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, [role=region], [role=application]')].filter((one) =>
             !(one.textContent.trim() && one.tagName === 'BUTTON') && !one.getAttribute('aria-label')
             && !document.getElementById(one.getAttribute('aria-labelledby') ?? '') && !(one.labels ?? []).length
             && !one.closest('.modebar')).map((one) => one.outerHTML.slice(0, 99))"""
    )
    assert nameless == []
    lines = "#table tbody tr"
    assert page.locator("table:has(thead th[scope=col])").count() == page.locator("table").count() > 2
    assert page.locator(f"{lines}:has(th[scope=row])").count() == page.locator(lines).count()


def test_without_scripts_the_table_is_there(chrome, drawn):
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(drawn.as_uri())
    assert page.locator("#table tbody tr").count() == 2 * 5 + 2 + 1
    assert not page.locator("#filters").is_visible()
    context.close()


def scripts(name):
    return "\n".join((FOLDER / one).read_text(encoding="utf-8") for one in SCRIPTS[: SCRIPTS.index(name) + 1])


def test_numbers_are_rounded_as_python_rounds_them(chrome):
    draw = random.Random(0)
    values = [
        0,
        1,
        -1,
        0.125,
        1.125,
        112.5,
        113.5,
        2.5,
        0.9996,
        99.95,
        999.5,
        1e6,
        1234567.0,
        1e-9,
        4.35,
        0.0005,
        -2.345,
    ]
    values += [draw.uniform(0, 10) * 10 ** draw.randint(-6, 9) for _ in range(300)]
    values += [draw.randint(1, 4000) / 8 for _ in range(300)]  # many of them halves of the last digit
    page = chrome.new_page()
    found = page.evaluate(f"(values) => {{ {scripts('text.js')}; return values.map((v) => rounded(v)); }}", values)
    assert found == [rounded(value) for value in values]
    page.close()


def test_the_front_is_that_of_python(chrome):
    draw = random.Random(1)
    page = chrome.new_page()
    for _ in range(20):
        cloud = [(draw.randint(1, 9), draw.randint(1, 9)) for _ in range(draw.randint(1, 25))]
        found = page.evaluate(
            f"""(cloud) => {{ {scripts("axes.js")};
              const all = cloud.map(([x, y], at) => ({{ x, y, at }}));
              return paretoFront(all, {{ better: 'low' }}, {{ better: 'high' }}).map((one) => one.at); }}""",
            cloud,
        )
        assert found == pareto_front(cloud)
    page.close()
