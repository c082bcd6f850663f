"""report.html in a headless Chromium: it opens without a complaint, sorts, filters, selects and compares."""

import dataclasses
import re

import pytest

from reports.cells import percent, rounded
from reports.html.commands import row_command, typed_commands
from reports.pairing import compared, points, rows_of
from reports.rows import frame, summary
from tests.browser_example import COMMAND, Opened, browser, written
from tests.records_example import example, failed, record, with_runtime

HOSTILE = "x</script><img src=x onerror=console.error(1)>&\"'`<b>\u2028"


def run():
    """Four methods on two runtimes and three seeds, a control, a row that failed and one that was refused."""
    control = dataclasses.replace(record("qat:bits=8", like="qat", share=0.4), role="half", control_of=("dct",))
    refused = failed("lowrank", status="refused", reason="no layer fits")
    return [*example(seeds=(0, 1, 2)), control, failed("prune:sparsity=0.5"), refused]


@pytest.fixture(scope="module")
def chrome():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def page_of_run(chrome, tmp_path_factory):
    return Opened(chrome, written(tmp_path_factory.mktemp("page"), run()))


@pytest.fixture
def opened(page_of_run):
    """The page as it opens: reading the chart library anew for each test would take most of their time."""
    yield page_of_run
    assert page_of_run.troubles == []
    page = page_of_run.page
    page.keyboard.press("Escape")
    page.click("button[type=reset]")
    for chip in page.locator("#tray .chip button").all()[::-1]:
        chip.click()
    wait_for_points(page_of_run, POINTS)


def elsewhere(one):
    return dataclasses.replace(one, net="lenet", dataset="mnist", case_id=f"lenet-{one.case_id}")


BARE = dataclasses.replace(record("dct"), ledger=(), training=(), runtimes=(), sha256="")
ODD = {
    "one row": [with_runtime(record("dense"), "eager", measurements=(), dense_measurements=())],
    "no dense": [BARE, record("qat")],
    "nothing measured": [failed("dct"), failed("qat", status="refused")],
    "hostile": [
        dataclasses.replace(record("dct"), label=HOSTILE, net=HOSTILE, notes=(HOSTILE,)),
        dataclasses.replace(record("qat"), label="a" * 4000, net=HOSTILE),
    ],
    "two networks": [*example(), *(elsewhere(one) for one in example(seeds=(0, 1)))],
}
POINTS = 6  # of the first chart of `run`: five rows and a control in the first runtime


@pytest.mark.parametrize("records", ODD.values(), ids=ODD)
def test_any_run_opens_is_selected_and_compared_without_a_complaint(chrome, tmp_path, records):
    page = Opened(chrome, written(tmp_path, records, title=HOSTILE, command=HOSTILE))
    assert page.page.title() == HOSTILE
    assert set(page.page.locator(".open").all_text_contents()) == {one.label for one in records}
    for label in dict.fromkeys(one.label for one in records):
        page.page.locator("tr:not([hidden]) .open").get_by_text(label, exact=True).first.click()
        assert page.page.locator("#panel-head").text_content() == label
    page.page.keyboard.press("Escape")
    picks = page.page.locator("tr:not([hidden]) .pick")
    if len(rows_of(records)) > 1:
        picks.first.check()
        picks.last.check()
        page.page.click("#compare")
        assert page.page.locator("#panel-head").text_content() == "A against B"
    assert page.page.locator("img").count() == 0
    page.context.close()
    assert page.troubles == []


def column(opened, key):
    """The texts of a column, of the lines that are shown, in order."""
    at = opened.page.locator("#table thead th").evaluate_all(
        "(heads, key) => heads.findIndex((h) => h.dataset.key === key)", key
    )
    return opened.page.locator(f"#table tbody tr:not([hidden]) > :nth-child({at + 1})").all_text_contents()


def test_sorting_by_a_head_puts_the_best_first_then_last_then_as_it_was(opened):
    means = summary(frame(run()))
    expected = sorted((f"{rounded(v)}×" for v in means["compression_ratio_mean"].dropna()), key=lambda t: float(t[:-1]))
    before = column(opened, "label")
    head = opened.page.locator("th[data-key=compression_ratio]")
    button = head.locator("button")
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    known = [text for text in column(opened, "compression_ratio") if text != "–"]
    assert known == expected[::-1]
    assert set(column(opened, "compression_ratio")[len(known) :]) == {"–"}  # what is missing comes last
    button.focus()
    opened.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [text for text in column(opened, "compression_ratio") if text != "–"] == expected
    opened.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") is None
    assert column(opened, "label") == before


def wait_for_points(opened, count):
    opened.page.wait_for_function(
        "n => document.querySelector('#charts .plot').data.reduce((m, t) => m + (t.customdata ?? []).length, 0) === n",
        arg=count,
    )


def test_filters_hide_lines_and_points_alike(opened):
    page = opened.page
    wait_for_points(opened, POINTS)
    page.keyboard.press("/")
    page.keyboard.type("qat EAGER")
    assert page.locator("#count").inner_text() == "2 of 14 lines"
    wait_for_points(opened, 2)
    page.fill("#find", "")
    page.select_option("#kind", "beside")
    assert opened.texts("tr .open") == ["qat:bits=8"] * 2
    page.select_option("#kind", "")
    page.select_option("#status", "bad")
    assert set(opened.texts("tr .open")) == {"lowrank", "prune:sparsity=0.5"}
    assert page.locator("#charts .empty").first.is_visible()
    page.click("button[type=reset]")
    shares = summary(frame(run()))["accuracy_mean"].dropna()
    least = sorted(shares)[len(shares) // 2]
    page.fill("#least", f"{100 * least:.9f}"[:-2])
    assert page.locator("tr[data-line]:not([hidden])").count() == (shares >= least - 1e-9).sum()
    page.fill("#least", "101")
    assert page.locator("#count").inner_text() == "0 of 14 lines"
    page.click("button[type=reset]")
    page.select_option("#seeds", "each")
    assert page.locator("#count").inner_text() == f"{len(frame(run()))} lines"
    assert len([text for text in column(opened, "seed") if text == "2"]) == 10


def test_a_click_on_a_point_shows_command_ledger_training_and_kernels(opened):
    page, one = opened.page, record("prune")
    opened.press("prune")
    assert page.locator("#panel-head").inner_text() == "prune"
    command = row_command(one, typed_commands(COMMAND))
    assert page.locator("#part-command code").first.inner_text() == command
    assert page.locator("#part-bytes tfoot td").nth(1).inner_text() == f"{one.file_bytes:,}"
    layer = page.locator("#part-bytes tbody tr", has_text="layer4.1.conv2").first
    assert f"{sum(e.bytes for e in one.ledger if e.layer == 'layer4.1.conv2'):,}" in layer.inner_text()
    layer.locator("button").click()
    tensors = [e for e in one.ledger if e.layer == "layer4.1.conv2"]
    assert page.locator("#part-bytes tr.tensor:visible").count() == len(tensors) == 2
    drawn = page.evaluate("document.getElementById('training-plot').data.map((t) => [t.name, Array.from(t.y)])")
    own = [log for log in one.training if log.stage != "dense"]
    assert dict(drawn)["validation"] == pytest.approx([100 * log.validation_accuracy for log in own], rel=1e-5)
    assert dict(drawn)["loss"] == pytest.approx([log.train_loss for log in own], rel=1e-5)
    assert re.search(r"Conv\s+fp32\s+20", page.locator("#part-kernels").inner_text())
    page.locator(".seeds button", has_text="2").click()
    file = f"{record('prune', seed=2).file_bytes:,}"
    assert page.locator("#part-bytes tfoot td").nth(1).inner_text() == file
    line = frame([record("dense", seed=2), record("prune", seed=2)]).to_dict("records")[2]
    assert f"{percent(line['accuracy'])} %" in page.locator(".numbers").inner_text()


def test_the_legend_hides_points_and_a_switch_leaves_out_what_is_far_below(opened):
    page = opened.page
    name = page.locator(".name", has_text="prune")
    name.click()
    wait_for_points(opened, POINTS - 1)
    assert name.get_attribute("aria-pressed") == "false"
    name.click()
    wait_for_points(opened, POINTS)
    page.select_option("#charts figure:first-of-type select >> nth=1", "latency_share_b1")
    title = page.locator("#charts .plot").first.get_attribute("aria-label")
    assert title.startswith(f"Accuracy against Latency b1 vs dense, {POINTS} points")
    page.select_option("#charts figure:first-of-type select >> nth=1", "file_bytes")
    page.check("#near")
    low, high = page.evaluate("document.querySelector('#charts .plot')._fullLayout.yaxis.range")
    values = page.evaluate("document.querySelector('#charts .plot').data.flatMap((t) => t.customdata ? [...t.y] : [])")
    left = sum(not low <= value <= high for value in values)
    text = page.locator("#charts figure").first.locator(".hint").text_content()
    assert text == (f"{left} of {POINTS} points lie outside" if left else "")
    page.uncheck("#near")


def test_all_columns_are_shown_at_a_press(opened):
    page, head = opened.page, opened.page.locator("th[data-key=extra_epochs]")
    assert not head.is_visible()
    page.click("#all")
    assert head.is_visible()
    assert page.locator("#all").get_attribute("aria-pressed") == "true"
    page.click("#all")


def test_two_rows_are_compared_with_the_interval_and_the_verdict_of_python(opened):
    page, rows = opened.page, {row.chain: row for row in rows_of(run())}
    opened.press("qat")
    page.click("#pick-open")
    page.keyboard.press("Escape")
    page.locator("#panel").wait_for(state="hidden")
    opened.press("dct", shift=True)
    page.locator("#tray .chip").nth(1).wait_for()
    page.keyboard.press("c")
    for first, second in (("qat", "dct"), ("dct", "qat")):
        gap = compared(rows[first], rows[second])
        mean, low, high = re.findall(r"[+-][\d.]+", points(gap))
        text = page.locator("#part-accuracy").inner_text()
        assert f"{mean} points" in text
        assert f"interval {low} to {high} points ({gap.how})" in text
        means = summary(frame(run())).set_index(["chain", "runtime"])["file_bytes_mean"]
        ratio = means[first, "eager"] / means[second, "eager"]
        assert page.locator("tr[data-key=file_bytes] td").nth(2).inner_text() == f"{rounded(ratio)}×"
        page.click("#swap")
    page.click("#close")
    assert page.locator("#panel").is_hidden()
    assert page.locator("#tray").is_visible()


def test_all_of_it_by_keyboard(opened):
    page = opened.page
    page.evaluate("document.querySelector('#charts .plot').focus()")
    page.keyboard.press("End")
    said = page.locator("#charts figure").first.locator("[aria-live]")
    assert said.inner_text().startswith("dense: ")
    page.keyboard.press("ArrowLeft")
    label = said.inner_text().split(": ")[0]
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    assert page.locator("#panel-head").inner_text() == label
    assert page.evaluate("document.activeElement.id") == "panel-head"
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    assert page.evaluate("document.activeElement.classList.contains('plot')")
    first = page.locator("tr:not([hidden]) .pick").first
    first.focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("c")
    assert page.locator("#panel-head").inner_text() == "A against B"
    for name in ("close", "swap"):
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.id") == name
    page.keyboard.press("Enter")
    assert page.locator(".sides li").last.inner_text().endswith(label)
